use half::bf16;

use super::Heads;
use super::tiles::{balanced, padded};
use crate::Pool;
use crate::pool::Disjoint;
use crate::simd::{Kernel, Lanes, exp, run, steps};
use crate::softmax::maximum;

/// Cached keys or values: rows x `heads.kv_width()`.
#[derive(Clone, Copy, Debug)]
pub enum KvRows<'a> {
    /// As they were computed.
    F32(&'a [f32]),
    /// Rounded to bf16.
    Bf16(&'a [bf16]),
}

impl KvRows<'_> {
    fn len(self) -> usize {
        match self {
            Self::F32(data) => data.len(),
            Self::Bf16(data) => data.len(),
        }
    }
}

/// Consecutive positions of a cache.
#[derive(Clone, Copy, Debug)]
pub struct KvSpan<'a> {
    /// At least `len` rows.
    pub keys: KvRows<'a>,
    /// At least `len` rows.
    pub values: KvRows<'a>,
    /// Number of positions to attend to.
    pub len: usize,
}

/// Attention of single new tokens to cached keys and values.
///
/// Row `r` of `queries` (rows x `query_stride`, of which the first `heads.query_width()` elements are read) attends to all positions of
/// `spans[r]`, which hold its own key and value already; `out` is rows x `heads.query_width()`. Rows may share spans.
///
/// Each row is computed by itself, position by position: it is bitwise the same alone and in any batch, however its positions are divided in spans,
/// for every number of threads.
///
/// # Panics
/// If the lengths do not fit together or a row has nothing to attend to.
pub fn attention_cached<'a, S: AsRef<[KvSpan<'a>]> + Sync>(
    pool: &Pool,
    heads: Heads,
    queries: &[f32],
    query_stride: usize,
    spans: &[S],
    out: &mut [f32],
) {
    heads.check();
    let (rows, width) = (spans.len(), heads.query_width());
    assert!(query_stride >= width, "a row of queries has {width} elements");
    assert!(rows == 0 || queries.len() >= (rows - 1) * query_stride + width, "queries must have {rows} rows");
    assert_eq!(out.len(), rows * width, "out must have {rows} rows");
    let lengths: Vec<usize> = spans.iter().map(|spans| length(heads, spans.as_ref())).collect();
    let costs: Vec<usize> = lengths.iter().flat_map(|&len| std::iter::repeat_n(len, heads.kv)).collect();
    let out = Disjoint::new(out);
    let part = |items: std::ops::Range<usize>| {
        for item in items {
            let (row, kv_head) = (item / heads.kv, item % heads.kv);
            let own = kv_head * heads.group() * heads.dim..(kv_head + 1) * heads.group() * heads.dim;
            // SAFETY: an item owns the heads of its group in its row.
            let out = unsafe { out.slice(row * width + own.start..row * width + own.end) };
            let queries = &queries[row * query_stride..][own];
            run(
                pool.level(),
                Cached { heads, kv_head, queries, spans: spans[row].as_ref(), len: lengths[row], out },
            );
        }
    };
    // A token of one short sequence takes less time than waking a thread.
    if costs.iter().sum::<usize>() * heads.dim < 1 << 13 {
        part(0..costs.len());
    } else {
        pool.run(|worker| part(balanced(&costs, pool.threads(), worker)));
    }
}

/// Number of positions in `spans`, checked.
fn length(heads: Heads, spans: &[KvSpan]) -> usize {
    for span in spans {
        let least = span.keys.len().min(span.values.len());
        assert!(
            least >= span.len * heads.kv_width(),
            "keys or values are shorter than the span's {} rows",
            span.len
        );
    }
    let len = spans.iter().map(|span| span.len).sum();
    assert!(len > 0, "a row needs a position to attend to");
    len
}

/// What caches hold.
trait Element: Copy {
    fn load<V: Lanes>(x: &[Self]) -> V;
}

impl Element for f32 {
    #[inline(always)]
    fn load<V: Lanes>(x: &[Self]) -> V {
        V::load(x)
    }
}

impl Element for bf16 {
    #[inline(always)]
    fn load<V: Lanes>(x: &[Self]) -> V {
        V::load_bf16(x)
    }
}

/// One row and key-value head: the queries of its group.
struct Cached<'a> {
    heads: Heads,
    kv_head: usize,
    queries: &'a [f32],
    spans: &'a [KvSpan<'a>],
    len: usize,
    out: &'a mut [f32],
}

impl Kernel for Cached<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Lanes>(self) {
        let (dim, group) = (self.heads.dim, self.heads.group());
        let width = padded(dim);
        let mut queries = vec![0.0; group * width];
        for (query, padded) in self.queries.chunks_exact(dim).zip(queries.chunks_exact_mut(width)) {
            for i in steps::<V>(dim) {
                (V::load(&query[i..]) * V::splat(self.heads.scale())).store(&mut padded[i..]);
            }
        }
        let mut scores = vec![0.0; group * self.len];
        let mut first = 0;
        for span in self.spans {
            match span.keys {
                KvRows::F32(keys) => self.dots::<V, f32>(&queries, keys, span.len, first, &mut scores),
                KvRows::Bf16(keys) => self.dots::<V, bf16>(&queries, keys, span.len, first, &mut scores),
            }
            first += span.len;
        }
        for scores in scores.chunks_exact_mut(self.len) {
            let greatest = V::splat(maximum::<V>(scores));
            let mut sum = V::zero();
            for i in steps::<V>(scores.len()) {
                let p = exp(V::load_or(&scores[i..], f32::NEG_INFINITY) - greatest);
                sum += p;
                p.store(&mut scores[i..]);
            }
            let inverse = V::splat(1.0 / sum.sum());
            for i in steps::<V>(scores.len()) {
                (V::load(&scores[i..]) * inverse).store(&mut scores[i..]);
            }
        }
        self.out.fill(0.0);
        let mut first = 0;
        for span in self.spans {
            let (heads, head) = (self.heads, self.kv_head);
            match span.values {
                KvRows::F32(values) => {
                    mix::<V, f32>(heads, head, &scores, self.len, values, span.len, first, self.out);
                }
                KvRows::Bf16(values) => {
                    mix::<V, bf16>(heads, head, &scores, self.len, values, span.len, first, self.out);
                }
            }
            first += span.len;
        }
    }
}

impl Cached<'_> {
    /// Inner products of the group's queries and `len` keys, to the scores of positions from `first`.
    #[inline(always)]
    fn dots<V: Lanes, T: Element>(
        &self,
        queries: &[f32],
        keys: &[T],
        len: usize,
        first: usize,
        scores: &mut [f32],
    ) {
        let (dim, stride, offset) = (self.heads.dim, self.heads.kv_width(), self.kv_head * self.heads.dim);
        let width = padded(dim);
        for position in (0..len).step_by(4) {
            let count = 4.min(len - position);
            // The last key stands in for those past the end.
            let four: [&[T]; 4] = std::array::from_fn(
                #[inline(always)]
                |k| &keys[(position + k.min(count - 1)) * stride + offset..][..dim],
            );
            for (query, scores) in queries.chunks_exact(width).zip(scores.chunks_exact_mut(self.len)) {
                let mut sums = [V::zero(); 4];
                for i in steps::<V>(dim) {
                    let query = V::load(&query[i..]);
                    for (sum, key) in sums.iter_mut().zip(four) {
                        *sum = query.mul_add(T::load(&key[i..]), *sum);
                    }
                }
                scores[first + position..][..count].copy_from_slice(&V::sums(sums)[..count]);
            }
        }
    }
}

/// Adds to `out` the values of `len` positions from `first`, weighted by the probabilities `p` (heads of the group x `context`).
#[inline(always)]
fn mix<V: Lanes, T: Element>(
    heads: Heads,
    kv_head: usize,
    p: &[f32],
    context: usize,
    values: &[T],
    len: usize,
    first: usize,
    out: &mut [f32],
) {
    let Heads { dim, .. } = heads;
    for position in 0..len {
        let value = &values[position * heads.kv_width() + kv_head * dim..][..dim];
        for i in steps::<V>(dim) {
            let value: V = T::load(&value[i..]);
            for (p, out) in p.chunks_exact(context).zip(out.chunks_exact_mut(dim)) {
                V::splat(p[first + position]).mul_add(value, V::load(&out[i..])).store(&mut out[i..]);
            }
        }
    }
}
