//! The division of a packed batch in tiles of 64 rows, and the panels that products read.

use std::ops::Range;

use super::{Heads, Segment};
use crate::Pool;
use crate::scratch::Scratch;
use crate::simd::{Lanes, prefetch, steps};

/// Rows of a tile, of queries and of keys alike.
pub(super) const TILE: usize = 64;

/// Elements of a panel's row for a head of `dim`: whole registers at every level.
pub(super) fn padded(dim: usize) -> usize {
    dim.next_multiple_of(16)
}

/// Up to 64 rows of one segment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tile {
    pub(super) segment: usize,
    /// First row in the batch.
    pub(super) start: usize,
    pub(super) len: usize,
}

/// The tiles of a batch, segment by segment, and who attends to whom.
pub(super) struct Tiling {
    pub(super) tiles: Vec<Tile>,
    /// Tiles of each segment.
    own: Vec<Range<usize>>,
    /// Ancestors of each segment, the root first.
    ancestors: Vec<Vec<usize>>,
}

impl Tiling {
    /// # Panics
    /// If the segments do not cover `0..rows` one after the other, or a parent does not come before its children.
    pub(super) fn new(segments: &[Segment], rows: usize) -> Self {
        let mut tiling = Self { tiles: Vec::new(), own: Vec::new(), ancestors: Vec::new() };
        let mut next = 0;
        for (segment, &Segment { start, len, parent }) in segments.iter().enumerate() {
            assert_eq!(start, next, "segment {segment} must begin where the one before ends");
            assert!(
                parent.is_none_or(|parent| parent < segment),
                "the parent of segment {segment} must come before it"
            );
            next = start + len;
            let first = tiling.tiles.len();
            tiling.tiles.extend((start..next).step_by(TILE).map(|start| Tile {
                segment,
                start,
                len: TILE.min(next - start),
            }));
            tiling.own.push(first..tiling.tiles.len());
            tiling.ancestors.push(
                parent.map_or_else(Vec::new, |parent| {
                    [tiling.ancestors[parent].as_slice(), &[parent]].concat()
                }),
            );
        }
        assert_eq!(next, rows, "segments must cover all rows");
        tiling
    }

    /// The tiles whose keys the queries of tile `query` see, in the order of their positions; the last is `query` itself.
    pub(super) fn seen_by(&self, query: usize) -> impl Iterator<Item = usize> {
        let segment = self.tiles[query].segment;
        let before = self.ancestors[segment].iter().flat_map(|&ancestor| self.own[ancestor].clone());
        before.chain(self.own[segment].start..query + 1)
    }

    /// Whether queries of tile `query` see keys of tile `key`.
    pub(super) fn sees(&self, query: usize, key: usize) -> bool {
        let (of_query, of_key) = (self.tiles[query].segment, self.tiles[key].segment);
        if of_query == of_key { key <= query } else { self.ancestors[of_query].contains(&of_key) }
    }

    /// Pairs of a query of tile `query` and a key it sees, about: the measure of work.
    pub(super) fn work(&self, query: usize) -> usize {
        self.seen_by(query).map(|key| self.tiles[key].len * self.tiles[query].len).sum()
    }

    /// The tiles of each tree of segments, in order.
    pub(super) fn trees(&self) -> Vec<Vec<usize>> {
        let mut trees = vec![Vec::new(); self.own.len()];
        for (index, tile) in self.tiles.iter().enumerate() {
            let root = self.ancestors[tile.segment].first().copied().unwrap_or(tile.segment);
            trees[root].push(index);
        }
        trees.retain(|tree| !tree.is_empty());
        trees
    }
}

/// How many of a key tile's `len` keys the query in row `row` of its own tile sees.
#[inline(always)]
pub(super) fn visible(diagonal: bool, row: usize, len: usize) -> usize {
    if diagonal { len.min(row + 1) } else { len }
}

/// Divides items of the given costs in contiguous parts of about equal cost; the part of `index`.
pub(super) fn balanced(costs: &[usize], parts: usize, index: usize) -> Range<usize> {
    let total: usize = costs.iter().sum();
    let before = |part: usize| {
        let mut sum = 0;
        // An item belongs to the part in which its middle lies.
        costs
            .iter()
            .position(|cost| {
                sum += cost;
                (2 * sum - cost) * parts >= 2 * total * part && part < parts
            })
            .unwrap_or(costs.len())
    };
    let start = if index == 0 { 0 } else { before(index) };
    start..if index + 1 == parts { costs.len() } else { before(index + 1) }
}

/// A head inside the rows of a matrix.
#[derive(Clone, Copy)]
pub(super) struct Column {
    pub(super) stride: usize,
    pub(super) offset: usize,
    pub(super) dim: usize,
}

impl Column {
    /// Query head `head` in rows of fused queries, keys and values.
    pub(super) fn query(heads: Heads, head: usize) -> Self {
        Self { stride: heads.qkv_width(), offset: head * heads.dim, dim: heads.dim }
    }

    /// Key head `head` in the same rows.
    pub(super) fn key(heads: Heads, head: usize) -> Self {
        Self::query(heads, heads.query + head)
    }

    /// Value head `head` in the same rows.
    pub(super) fn value(heads: Heads, head: usize) -> Self {
        Self::query(heads, heads.query + heads.kv + head)
    }

    /// Head `head` in rows of attention's output.
    pub(super) fn output(heads: Heads, head: usize) -> Self {
        Self { stride: heads.query_width(), offset: head * heads.dim, dim: heads.dim }
    }

    /// Where the head lies in row `row`.
    #[inline(always)]
    pub(super) fn at(self, row: usize) -> Range<usize> {
        let start = row * self.stride + self.offset;
        start..start + self.dim
    }

    /// Asks for the head in row `row` of `x`.
    #[inline(always)]
    pub(super) fn prefetch(self, x: &[f32], row: usize) {
        prefetch(x.as_ptr().wrapping_add(row * self.stride + self.offset), self.dim);
    }

    /// Copies the rows of `tile`, times `factor`, to the rows of a panel; up to three rows of zeros fill the last four.
    #[inline(always)]
    pub(super) fn gather<V: Lanes>(self, x: &[f32], tile: Tile, factor: f32, panel: &mut [f32]) {
        let width = padded(self.dim);
        for (row, out) in panel.chunks_exact_mut(width).enumerate().take(tile.len) {
            self.prefetch(x, tile.start + row + TILE);
            let x = &x[self.at(tile.start + row)];
            for i in steps::<V>(width) {
                (V::load(x.get(i..).unwrap_or(&[])) * V::splat(factor)).store(&mut out[i..]);
            }
        }
        panel[tile.len * width..tile.len.next_multiple_of(4) * width].fill(0.0);
    }

    /// Writes the rows of `tile` to the columns of a panel of `dim` rows of 64; columns past the tile's length are 0.
    pub(super) fn gather_transposed(self, x: &[f32], tile: Tile, panel: &mut [f32]) {
        let row = |row: usize| &x[self.at(tile.start + row)];
        let fours = tile.len / 4 * 4;
        for first in (0..fours).step_by(4) {
            for row in first..first + 4 {
                self.prefetch(x, tile.start + row + TILE);
            }
            let (a, b, c, d) = (row(first), row(first + 1), row(first + 2), row(first + 3));
            let values = a.iter().zip(b).zip(c).zip(d);
            for ((((a, b), c), d), out) in values.zip(panel.chunks_exact_mut(TILE)) {
                out[first..first + 4].copy_from_slice(&[*a, *b, *c, *d]);
            }
        }
        for last in fours..tile.len {
            for (value, out) in row(last).iter().zip(panel.chunks_exact_mut(TILE)) {
                out[last] = *value;
            }
        }
        if tile.len < TILE {
            panel.chunks_exact_mut(TILE).for_each(|row| row[tile.len..].fill(0.0));
        }
    }
}

/// One panel for every tile and key-value head of a batch.
pub(super) struct Panels {
    data: Scratch,
    size: usize,
    kv: usize,
}

impl Panels {
    /// Fills the panels by `fill(tile, kv head, panel)`; each has `size` elements.
    pub(super) fn new(
        pool: &Pool,
        tiling: &Tiling,
        kv: usize,
        size: usize,
        fill: impl Fn(Tile, usize, &mut [f32]) + Sync,
    ) -> Self {
        let mut data = Scratch::take(tiling.tiles.len() * kv * size);
        pool.split(&mut data, size, |first, part| {
            for (index, panel) in (first..).zip(part.chunks_exact_mut(size)) {
                fill(tiling.tiles[index / kv], index % kv, panel);
            }
        });
        Self { data, size, kv }
    }

    /// The panel of a tile and key-value head.
    #[inline(always)]
    pub(super) fn get(&self, tile: usize, head: usize) -> &[f32] {
        let start = (tile * self.kv + head) * self.size;
        &self.data[start..start + self.size]
    }
}
