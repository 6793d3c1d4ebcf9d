//! Causal attention with grouped heads, without a T x T tensor (FlashAttention: Dao et al. 2022).
//!
//! Training works on a packed batch of [`Segment`]s in blocks of 64 queries and 64 keys: forward with a running softmax that leaves only the log of the
//! sum of exponentials, backward with the probabilities recomputed from it. Decoding attends to a cache.

mod backward;
mod cached;
mod forward;
mod product;
#[cfg(test)]
mod tests;
mod tiles;

pub use backward::attention_backward;
pub use cached::{KvRows, KvSpan, attention_cached};
pub use forward::attention_forward;

/// Rows `start..start + len` of a packed batch: one sequence, or a part that others continue.
///
/// They attend causally to each other and fully to all rows of their parent and of its ancestors. A group of
/// completions thus shares its prompt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// First row.
    pub start: usize,
    /// Number of rows.
    pub len: usize,
    /// Index of the segment that this one continues; it comes earlier in the list.
    pub parent: Option<usize>,
}

/// Numbers of heads and their width. Each key-value head serves `query / kv` adjacent query heads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heads {
    /// Query heads: a multiple of `kv`.
    pub query: usize,
    /// Key-value heads.
    pub kv: usize,
    /// Elements of a head.
    pub dim: usize,
}

impl Heads {
    /// Elements of a row of fused queries, keys and values.
    #[must_use]
    pub fn qkv_width(self) -> usize {
        (self.query + 2 * self.kv) * self.dim
    }

    /// Elements of a row of queries or of attention's output.
    #[must_use]
    pub fn query_width(self) -> usize {
        self.query * self.dim
    }

    /// Elements of a row of keys or of values.
    #[must_use]
    pub fn kv_width(self) -> usize {
        self.kv * self.dim
    }

    /// Query heads that share a key-value head.
    #[must_use]
    pub fn group(self) -> usize {
        self.query / self.kv
    }

    /// What inner products are multiplied by: `1 / sqrt(dim)`.
    fn scale(self) -> f32 {
        1.0 / (self.dim as f32).sqrt()
    }

    fn check(self) {
        assert!(
            self.kv > 0 && self.dim > 0 && self.query > 0 && self.query.is_multiple_of(self.kv),
            "query heads must be a multiple of key-value heads: {self:?}"
        );
    }
}
