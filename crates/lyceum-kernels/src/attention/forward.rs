use super::product::{Left, ROWS, product};
use super::tiles::{Column, Panels, TILE, Tiling, balanced, padded, visible};
use super::{Heads, Segment};
use crate::Pool;
use crate::pool::Disjoint;
use crate::scratch::Scratch;
use crate::simd::{Kernel, Lanes, exp, run, steps};
use crate::softmax::maximum;

/// Attention over a packed batch: `out` and the log of the sum of exponentials of every row and query head.
///
/// `qkv` is rows x `heads.qkv_width()` (queries, keys and values of a row, keys and queries with their positions' rotation already),
/// `out` rows x `heads.query_width()`, `lse` rows x `heads.query`. The result is the same for every number of threads.
///
/// # Panics
/// If the lengths do not fit together, segments do not cover the rows one after the other, or a parent comes after its child.
pub fn attention_forward(
    pool: &Pool,
    heads: Heads,
    segments: &[Segment],
    qkv: &[f32],
    out: &mut [f32],
    lse: &mut [f32],
) {
    heads.check();
    let rows = qkv.len() / heads.qkv_width();
    assert_eq!(qkv.len(), rows * heads.qkv_width(), "qkv is not whole rows");
    assert!(
        out.len() == rows * heads.query_width() && lse.len() == rows * heads.query,
        "out and lse must have {rows} rows"
    );
    let tiling = Tiling::new(segments, rows);
    let keys = Panels::new(pool, &tiling, heads.kv, heads.dim * TILE, |tile, head, panel| {
        Column::key(heads, head).gather_transposed(qkv, tile, panel);
    });
    let values = Panels::new(pool, &tiling, heads.kv, padded(heads.dim) * TILE, |tile, head, panel| {
        run(pool.level(), Gather { column: Column::value(heads, head), x: qkv, tile, panel });
    });
    let costs: Vec<usize> = (0..tiling.tiles.len())
        .flat_map(|tile| std::iter::repeat_n(tiling.work(tile), heads.query))
        .collect();
    let (out, lse) = (Disjoint::new(out), Disjoint::new(lse));
    pool.run(|worker| {
        let items = balanced(&costs, pool.threads(), worker);
        run(
            pool.level(),
            Forward {
                heads,
                tiling: &tiling,
                qkv,
                keys: &keys,
                values: &values,
                items,
                out: &out,
                lse: &lse,
            },
        );
    });
}

/// Copies a tile to a panel.
pub(super) struct Gather<'a> {
    pub(super) column: Column,
    pub(super) x: &'a [f32],
    pub(super) tile: super::tiles::Tile,
    pub(super) panel: &'a mut [f32],
}

impl Kernel for Gather<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Lanes>(self) {
        self.column.gather::<V>(self.x, self.tile, 1.0, self.panel);
    }
}

/// A worker's part: items are pairs of a tile of queries and a query head.
struct Forward<'a> {
    heads: Heads,
    tiling: &'a Tiling,
    qkv: &'a [f32],
    keys: &'a Panels,
    values: &'a Panels,
    items: std::ops::Range<usize>,
    out: &'a Disjoint<'a, f32>,
    lse: &'a Disjoint<'a, f32>,
}

/// What a worker keeps of one tile of queries.
struct Work {
    queries: Scratch,
    /// 64 x 64: inner products, then probabilities up to the rows' sums.
    scores: Scratch,
    out: Scratch,
    /// Greatest score of each row so far.
    greatest: [f32; TILE],
    /// Sums of exponentials of each row so far, lane by lane.
    sums: Scratch,
}

impl Kernel for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Lanes>(self) {
        let width = padded(self.heads.dim);
        let mut work = Work {
            queries: Scratch::take(TILE * width),
            scores: Scratch::take(TILE * TILE),
            out: Scratch::take(TILE * width),
            greatest: [0.0; TILE],
            sums: Scratch::take(TILE * V::N),
        };
        for item in self.items.clone() {
            self.item::<V>(item / self.heads.query, item % self.heads.query, &mut work);
        }
    }
}

impl Forward<'_> {
    #[inline(always)]
    fn item<V: Lanes>(&self, index: usize, head: usize, work: &mut Work) {
        let Work { queries, scores, out, greatest, sums } = work;
        let (heads, tile) = (self.heads, self.tiling.tiles[index]);
        let (width, kv_head) = (padded(heads.dim), head / heads.group());
        Column::query(heads, head).gather::<V>(self.qkv, tile, heads.scale(), queries);
        out.fill(0.0);
        sums.fill(0.0);
        greatest.fill(f32::NEG_INFINITY);
        for key_tile in self.tiling.seen_by(index) {
            let (diagonal, len) = (key_tile == index, self.tiling.tiles[key_tile].len);
            let (keys, values) = (self.keys.get(key_tile, kv_head), self.values.get(key_tile, kv_head));
            for row in (0..tile.len).step_by(ROWS) {
                let n = visible(diagonal, row + ROWS - 1, len).next_multiple_of(V::N);
                let a = Left { data: &queries[row * width..], row: width, step: 1 };
                product::<V>(n, heads.dim, a, keys, TILE, &mut scores[row * TILE..], TILE, false);
            }
            for row in 0..tile.len {
                let seen = visible(diagonal, row, len);
                let scores = &mut scores[row * TILE..(row + 1) * TILE];
                let sums = &mut sums[row * V::N..(row + 1) * V::N];
                let before = greatest[row];
                greatest[row] = before.max(maximum::<V>(&scores[..seen]));
                let shift = V::splat(greatest[row]);
                let mut sum = V::load(sums);
                if greatest[row] > before && before > f32::NEG_INFINITY {
                    let factor = exp(V::splat(before) - shift);
                    sum = sum * factor;
                    let out = &mut out[row * width..(row + 1) * width];
                    for i in steps::<V>(width) {
                        (V::load(&out[i..]) * factor).store(&mut out[i..]);
                    }
                }
                for i in steps::<V>(seen) {
                    let p = exp(V::load_or(&scores[i..seen], f32::NEG_INFINITY) - shift);
                    sum += p;
                    p.store(&mut scores[i..]);
                }
                sum.store(sums);
            }
            for row in (0..tile.len).step_by(ROWS) {
                let a = Left { data: &scores[row * TILE..], row: TILE, step: 1 };
                let depth = visible(diagonal, row + ROWS - 1, len);
                product::<V>(width, depth, a, values, width, &mut out[row * width..], width, true);
            }
        }
        for row in 0..tile.len {
            let sum = V::load(&sums[row * V::N..]).sum();
            let out = &out[row * width..][..heads.dim];
            let at = tile.start + row;
            // SAFETY: an item owns its head in its rows.
            let (to, lse) = unsafe {
                let lse = at * heads.query + head;
                (self.out.slice(Column::output(heads, head).at(at)), self.lse.slice(lse..lse + 1))
            };
            for i in steps::<V>(heads.dim) {
                (V::load(&out[i..]) * V::splat(1.0 / sum)).store(&mut to[i..]);
            }
            lse[0] = greatest[row] + sum.ln();
        }
    }
}
