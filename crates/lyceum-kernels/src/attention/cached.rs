use std::ops::Range;

use half::bf16;

use super::Heads;
use super::tiles::{balanced, padded};
use crate::Pool;
use crate::pool::Disjoint;
use crate::scratch::Scratch;
use crate::simd::{Kernel, Lanes, prefetch, run, steps};
use crate::softmax::softmax_row;

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
    // Whole rows are read as one stream; few rows are divided by heads, so that all threads have work.
    let parts = if rows < 4 * pool.threads() { heads.kv } else { 1 };
    let costs: Vec<usize> = lengths.iter().flat_map(|&len| std::iter::repeat_n(len, parts)).collect();
    let out = Disjoint::new(out);
    let part = |items| {
        run(
            pool.level(),
            Cached { heads, parts, queries, query_stride, spans, lengths: &lengths, items, out: &out },
        );
    };
    // A token of one short sequence takes less time than waking a thread.
    if lengths.iter().sum::<usize>() * width < 1 << 14 {
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

/// Positions whose values are added up while the sums are in registers.
const BLOCK: usize = 16;
/// How many positions ahead rows are asked for.
const AHEAD: usize = 24;
/// Query heads whose sums are kept in registers at a time.
const TOGETHER: usize = 4;

/// A worker's part: items are pairs of a row and one of `parts` equal ranges of key-value heads.
struct Cached<'a, S> {
    heads: Heads,
    parts: usize,
    queries: &'a [f32],
    query_stride: usize,
    spans: &'a [S],
    lengths: &'a [usize],
    items: Range<usize>,
    out: &'a Disjoint<'a, f32>,
}

impl<'a, S: AsRef<[KvSpan<'a>]>> Kernel for Cached<'_, S> {
    type Output = ();

    #[inline(always)]
    fn run<V: Lanes>(self) {
        let Heads { query, kv, dim } = self.heads;
        let (queries_of_item, kv_of_item, width) = (query / self.parts, kv / self.parts, padded(dim));
        let longest = self.items.clone().map(|item| self.lengths[item / self.parts]).max().unwrap_or(0);
        let mut queries = Scratch::zeroed(queries_of_item * width);
        let mut scores = Scratch::take(queries_of_item * longest);
        for item in self.items.clone() {
            let (row, part) = (item / self.parts, item % self.parts);
            let own = part * queries_of_item * dim..(part + 1) * queries_of_item * dim;
            let from = &self.queries[row * self.query_stride..][own.clone()];
            for (from, to) in from.chunks_exact(dim).zip(queries.chunks_exact_mut(width)) {
                for i in steps::<V>(dim) {
                    (V::load(&from[i..]) * V::splat(self.heads.scale())).store(&mut to[i..]);
                }
            }
            let at = row * self.heads.query_width();
            // SAFETY: an item owns its heads in its row.
            let out = unsafe { self.out.slice(at + own.start..at + own.end) };
            let kv_heads = part * kv_of_item..(part + 1) * kv_of_item;
            let scores = &mut scores[..queries_of_item * self.lengths[row]];
            attend::<V>(self.heads, kv_heads, self.spans[row].as_ref(), &queries, scores, out);
        }
    }
}

/// Attention of one row's queries (heads x padded dim, scaled) to the key-value heads they belong to; `scores` is scratch
/// of heads x positions.
#[inline(always)]
fn attend<V: Lanes>(
    heads: Heads,
    kv_heads: Range<usize>,
    spans: &[KvSpan],
    queries: &[f32],
    scores: &mut [f32],
    out: &mut [f32],
) {
    let context = scores.len() / (out.len() / heads.dim);
    let mut first = 0;
    for &KvSpan { keys, len, .. } in spans {
        let kv_heads = kv_heads.clone();
        match keys {
            KvRows::F32(data) => {
                Rows { heads, kv_heads, data, len }.dots::<V>(queries, scores, context, first);
            }
            KvRows::Bf16(data) => {
                Rows { heads, kv_heads, data, len }.dots::<V>(queries, scores, context, first);
            }
        }
        first += len;
    }
    for scores in scores.chunks_exact_mut(context) {
        softmax_row::<V>(scores);
    }
    out.fill(0.0);
    let mut first = 0;
    for &KvSpan { values, len, .. } in spans {
        let kv_heads = kv_heads.clone();
        match values {
            KvRows::F32(data) => Rows { heads, kv_heads, data, len }.mix::<V>(scores, context, first, out),
            KvRows::Bf16(data) => Rows { heads, kv_heads, data, len }.mix::<V>(scores, context, first, out),
        }
        first += len;
    }
}

/// Some key-value heads in the rows of a span.
struct Rows<'a, T> {
    heads: Heads,
    kv_heads: Range<usize>,
    data: &'a [T],
    len: usize,
}

impl<T: Element> Rows<'_, T> {
    #[inline(always)]
    fn row(&self, position: usize, kv_head: usize) -> &[T] {
        &self.data[position * self.heads.kv_width() + kv_head * self.heads.dim..][..self.heads.dim]
    }

    /// Asks for the heads of a position some time before they are needed.
    #[inline(always)]
    fn prefetch(&self, position: usize) {
        let start = position * self.heads.kv_width() + self.kv_heads.start * self.heads.dim;
        prefetch(self.data.as_ptr().wrapping_add(start), self.kv_heads.len() * self.heads.dim);
    }

    /// Writes the inner products of queries and keys to the scores (query heads x context) of positions from `first`.
    #[inline(always)]
    fn dots<V: Lanes>(&self, queries: &[f32], scores: &mut [f32], context: usize, first: usize) {
        let (group, width) = (self.heads.group(), padded(self.heads.dim));
        for position in (0..self.len).step_by(4) {
            for ahead in position + AHEAD..position + AHEAD + 4 {
                self.prefetch(ahead);
            }
            for (index, kv_head) in self.kv_heads.clone().enumerate() {
                for h in (0..group).step_by(TOGETHER) {
                    let queries = &queries[(index * group + h) * width..];
                    let scores = &mut scores[(index * group + h) * context + first..];
                    match group - h {
                        1 => self.dots_of::<V, 1>(position, kv_head, queries, scores, context),
                        2 => self.dots_of::<V, 2>(position, kv_head, queries, scores, context),
                        3 => self.dots_of::<V, 3>(position, kv_head, queries, scores, context),
                        _ => self.dots_of::<V, TOGETHER>(position, kv_head, queries, scores, context),
                    }
                }
            }
        }
    }

    /// As `dots`, for `H` query heads and four positions, so that the sums over lanes can be taken together.
    #[inline(always)]
    fn dots_of<V: Lanes, const H: usize>(
        &self,
        position: usize,
        kv_head: usize,
        queries: &[f32],
        scores: &mut [f32],
        context: usize,
    ) {
        let width = padded(self.heads.dim);
        // The last key stands in for those past the end.
        let last = self.len - 1;
        let keys = [
            self.row(position, kv_head),
            self.row(last.min(position + 1), kv_head),
            self.row(last.min(position + 2), kv_head),
            self.row(last.min(position + 3), kv_head),
        ];
        let mut sums = [[V::zero(); 4]; H];
        for i in steps::<V>(self.heads.dim) {
            // Not `keys.map`: its closures are compiled for no level.
            let keys: [V; 4] = [
                T::load(&keys[0][i..]),
                T::load(&keys[1][i..]),
                T::load(&keys[2][i..]),
                T::load(&keys[3][i..]),
            ];
            for (h, sums) in sums.iter_mut().enumerate() {
                let query = V::load(&queries[h * width + i..]);
                for (sum, key) in sums.iter_mut().zip(keys) {
                    *sum = query.mul_add(key, *sum);
                }
            }
        }
        let count = 4.min(self.len - position);
        for (h, sums) in sums.into_iter().enumerate() {
            scores[h * context + position..][..count].copy_from_slice(&V::sums(sums)[..count]);
        }
    }

    /// Adds to `out` (query heads x dim) the values, weighted by the probabilities `p` (query heads x context) of positions
    /// from `first`.
    #[inline(always)]
    fn mix<V: Lanes>(&self, p: &[f32], context: usize, first: usize, out: &mut [f32]) {
        let (group, dim) = (self.heads.group(), self.heads.dim);
        for start in (0..self.len).step_by(BLOCK) {
            let positions = start..self.len.min(start + BLOCK);
            for (index, kv_head) in self.kv_heads.clone().enumerate() {
                for h in (0..group).step_by(TOGETHER) {
                    let p = &p[(index * group + h) * context + first..];
                    let out = &mut out[(index * group + h) * dim..];
                    match group - h {
                        1 => self.mix_of::<V, 1>(positions.clone(), kv_head, p, context, out),
                        2 => self.mix_of::<V, 2>(positions.clone(), kv_head, p, context, out),
                        3 => self.mix_of::<V, 3>(positions.clone(), kv_head, p, context, out),
                        _ => self.mix_of::<V, TOGETHER>(positions.clone(), kv_head, p, context, out),
                    }
                }
            }
        }
    }

    /// As `mix`, for `H` query heads and some of the positions; additions are in the order of positions.
    #[inline(always)]
    fn mix_of<V: Lanes, const H: usize>(
        &self,
        positions: Range<usize>,
        kv_head: usize,
        p: &[f32],
        context: usize,
        out: &mut [f32],
    ) {
        let mut column = 0;
        while column < self.heads.dim {
            let left = (self.heads.dim - column) / V::N;
            if left >= 4 && V::TILE >= 4 {
                self.mix_columns::<V, H, 4>(positions.clone(), kv_head, column, p, context, out);
                column += 4 * V::N;
            } else if left >= 2 {
                self.mix_columns::<V, H, 2>(positions.clone(), kv_head, column, p, context, out);
                column += 2 * V::N;
            } else {
                self.mix_columns::<V, H, 1>(positions.clone(), kv_head, column, p, context, out);
                column += V::N;
            }
        }
    }

    /// As `mix_of`, for the columns of `W` registers.
    #[inline(always)]
    fn mix_columns<V: Lanes, const H: usize, const W: usize>(
        &self,
        positions: Range<usize>,
        kv_head: usize,
        column: usize,
        p: &[f32],
        context: usize,
        out: &mut [f32],
    ) {
        let dim = self.heads.dim;
        let mut sums = [[V::zero(); W]; H];
        for (h, sums) in sums.iter_mut().enumerate() {
            for (w, sum) in sums.iter_mut().enumerate() {
                *sum = V::load(&out[h * dim + column + w * V::N..(h + 1) * dim]);
            }
        }
        for position in positions {
            if column == 0 && kv_head == self.kv_heads.start {
                self.prefetch(position + AHEAD);
            }
            let row = &self.row(position, kv_head)[column..];
            let mut values = [V::zero(); W];
            for (w, value) in values.iter_mut().enumerate() {
                *value = T::load(&row[w * V::N..]);
            }
            for (h, sums) in sums.iter_mut().enumerate() {
                let p = V::splat(p[h * context + position]);
                for (sum, value) in sums.iter_mut().zip(values) {
                    *sum = p.mul_add(value, *sum);
                }
            }
        }
        for (h, sums) in sums.into_iter().enumerate() {
            for (w, sum) in sums.into_iter().enumerate() {
                sum.store(&mut out[h * dim + column + w * V::N..(h + 1) * dim]);
            }
        }
    }
}
