use super::forward::Gather;
use super::product::{Left, ROWS, product};
use super::tiles::{Column, Panels, TILE, Tiling, balanced, padded, visible};
use super::{Heads, Segment};
use crate::Pool;
use crate::pool::Disjoint;
use crate::rows::split_rows;
use crate::scratch::Scratch;
use crate::simd::{Kernel, Lanes, exp, run, steps};

/// The gradient of [`super::attention_forward`]: overwrites `d_qkv`, given that of its output.
///
/// `qkv` and `d_qkv` are rows x `heads.qkv_width()`, `out` and `d_out` rows x `heads.query_width()`, `lse` rows x `heads.query`; `out` and `lse` are what the
/// forward pass gave. The keys and values of a parent receive the sum over its children. The result is the same for every number of threads.
///
/// # Panics
/// As [`super::attention_forward`].
pub fn attention_backward(
    pool: &Pool,
    heads: Heads,
    segments: &[Segment],
    qkv: &[f32],
    out: &[f32],
    lse: &[f32],
    d_out: &[f32],
    d_qkv: &mut [f32],
) {
    heads.check();
    let rows = qkv.len() / heads.qkv_width();
    assert_eq!(qkv.len(), rows * heads.qkv_width(), "qkv is not whole rows");
    assert_eq!(d_qkv.len(), qkv.len(), "d_qkv must have {rows} rows");
    assert!(
        out.len() == rows * heads.query_width()
            && d_out.len() == out.len()
            && lse.len() == rows * heads.query,
        "out, d_out and lse must have {rows} rows"
    );
    let tiling = Tiling::new(segments, rows);
    let transposed = heads.dim * TILE;
    let keys_transposed = Panels::new(pool, &tiling, heads.kv, transposed, |tile, head, panel| {
        Column::key(heads, head).gather_transposed(qkv, tile, panel);
    });
    let values_transposed = Panels::new(pool, &tiling, heads.kv, transposed, |tile, head, panel| {
        Column::value(heads, head).gather_transposed(qkv, tile, panel);
    });
    let keys = Panels::new(pool, &tiling, heads.kv, padded(heads.dim) * TILE, |tile, head, panel| {
        run(pool.level(), Gather { column: Column::key(heads, head), x: qkv, tile, panel });
    });
    let trees = tiling.trees();
    let costs: Vec<usize> = trees
        .iter()
        .map(|tree| tree.iter().map(|&tile| tiling.work(tile)).sum())
        .flat_map(|work: usize| std::iter::repeat_n(work, heads.query))
        .collect();
    // Gradients of keys and values by query head; the heads of a group are added up at the end, in order.
    let mut d_kv = Scratch::take(rows * 2 * heads.query_width());
    {
        let (d_kv, d_qkv) = (Disjoint::new(&mut d_kv), Disjoint::new(d_qkv));
        pool.run(|worker| {
            let kernel = Backward {
                heads,
                tiling: &tiling,
                trees: &trees,
                qkv,
                out,
                lse,
                d_out,
                keys_transposed: &keys_transposed,
                values_transposed: &values_transposed,
                keys: &keys,
                items: balanced(&costs, pool.threads(), worker),
                d_kv: &d_kv,
                d_qkv: &d_qkv,
            };
            run(pool.level(), kernel);
        });
    }
    split_rows(pool, rows, heads.qkv_width(), [d_qkv], |range, [d_qkv]| {
        let d_kv = &d_kv[range.start * 2 * heads.query_width()..range.end * 2 * heads.query_width()];
        run(pool.level(), GroupSums { heads, d_kv, d_qkv });
    });
}

/// A worker's part: items are pairs of a tree of segments and a query head.
struct Backward<'a> {
    heads: Heads,
    tiling: &'a Tiling,
    trees: &'a [Vec<usize>],
    qkv: &'a [f32],
    out: &'a [f32],
    lse: &'a [f32],
    d_out: &'a [f32],
    keys_transposed: &'a Panels,
    values_transposed: &'a Panels,
    keys: &'a Panels,
    items: std::ops::Range<usize>,
    /// rows x 2 x query heads x dim: keys, then values.
    d_kv: &'a Disjoint<'a, f32>,
    d_qkv: &'a Disjoint<'a, f32>,
}

/// What a worker keeps of a tree of segments: panels of 64 rows, tile by tile.
struct Work {
    /// Multiplied by the scale of inner products.
    queries: Scratch,
    d_out: Scratch,
    d_queries: Scratch,
    lse: Scratch,
    /// Inner product of each row's output and its gradient.
    delta: Scratch,
    /// 64 x 64: inner products, then probabilities.
    scores: Scratch,
    /// 64 x 64: gradients of probabilities, then of inner products.
    d_scores: Scratch,
    d_keys: Scratch,
    d_values: Scratch,
}

impl Kernel for Backward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Lanes>(self) {
        let trees = self.items.clone().map(|item| self.trees[item / self.heads.query].len());
        let (rows, width) = (trees.max().unwrap_or(0) * TILE, padded(self.heads.dim));
        let mut work = Work {
            queries: Scratch::take(rows * width),
            d_out: Scratch::take(rows * width),
            d_queries: Scratch::take(rows * width),
            lse: Scratch::take(rows),
            delta: Scratch::take(rows),
            scores: Scratch::take(TILE * TILE),
            d_scores: Scratch::take(TILE * TILE),
            d_keys: Scratch::take(TILE * width),
            d_values: Scratch::take(TILE * width),
        };
        for item in self.items.clone() {
            self.item::<V>(&self.trees[item / self.heads.query], item % self.heads.query, &mut work);
        }
    }
}

impl Backward<'_> {
    #[inline(always)]
    fn item<V: Lanes>(&self, tree: &[usize], head: usize, work: &mut Work) {
        let heads = self.heads;
        let (width, size) = (padded(heads.dim), padded(heads.dim) * TILE);
        for (local, &index) in tree.iter().enumerate() {
            self.load::<V>(local, index, head, work);
        }
        for (local_key, &key) in tree.iter().enumerate() {
            work.d_keys.fill(0.0);
            work.d_values.fill(0.0);
            for (local, &query) in tree.iter().enumerate().skip(local_key) {
                if self.tiling.sees(query, key) {
                    self.pair::<V>(local, query, key, head / heads.group(), work);
                }
            }
            let tile = self.tiling.tiles[key];
            for (row, at) in (tile.start..tile.start + tile.len).enumerate() {
                let start = at * 2 * heads.query_width();
                let d_key = start + head * heads.dim;
                let d_value = d_key + heads.query_width();
                // SAFETY: an item owns its head in the rows of its tree.
                let (d_key, d_value) = unsafe {
                    (self.d_kv.slice(d_key..d_key + heads.dim), self.d_kv.slice(d_value..d_value + heads.dim))
                };
                d_key.copy_from_slice(&work.d_keys[row * width..][..heads.dim]);
                d_value.copy_from_slice(&work.d_values[row * width..][..heads.dim]);
            }
        }
        for (local, &index) in tree.iter().enumerate() {
            let tile = self.tiling.tiles[index];
            for (row, at) in (tile.start..tile.start + tile.len).enumerate() {
                // SAFETY: as above.
                let out = unsafe { self.d_qkv.slice(Column::query(heads, head).at(at)) };
                let d = &work.d_queries[local * size + row * width..][..heads.dim];
                for i in steps::<V>(heads.dim) {
                    (V::load(&d[i..]) * V::splat(heads.scale())).store(&mut out[i..]);
                }
            }
        }
    }

    /// Fills the panels of a tile of queries.
    #[inline(always)]
    fn load<V: Lanes>(&self, local: usize, index: usize, head: usize, work: &mut Work) {
        let (heads, tile) = (self.heads, self.tiling.tiles[index]);
        let size = padded(heads.dim) * TILE;
        let panel = local * size..(local + 1) * size;
        let column = Column::output(heads, head);
        Column::query(heads, head).gather::<V>(
            self.qkv,
            tile,
            heads.scale(),
            &mut work.queries[panel.clone()],
        );
        column.gather::<V>(self.d_out, tile, 1.0, &mut work.d_out[panel.clone()]);
        work.d_queries[panel].fill(0.0);
        for (row, at) in (tile.start..tile.start + tile.len).enumerate() {
            let (out, d_out) = (&self.out[column.at(at)], &self.d_out[column.at(at)]);
            let mut dot = V::zero();
            for i in steps::<V>(heads.dim) {
                dot = V::load(&out[i..]).mul_add(V::load(&d_out[i..]), dot);
            }
            work.delta[local * TILE + row] = dot.sum();
            work.lse[local * TILE + row] = self.lse[at * heads.query + head];
        }
    }

    /// Adds what a tile of queries and a tile of keys contribute to the gradients of both.
    #[inline(always)]
    fn pair<V: Lanes>(&self, local: usize, query: usize, key: usize, kv_head: usize, work: &mut Work) {
        let Work { queries, d_out, d_queries, lse, delta, scores, d_scores, d_keys, d_values } = work;
        let (dim, width) = (self.heads.dim, padded(self.heads.dim));
        let (rows, len, diagonal) = (self.tiling.tiles[query].len, self.tiling.tiles[key].len, query == key);
        let (keys_t, values_t) =
            (self.keys_transposed.get(key, kv_head), self.values_transposed.get(key, kv_head));
        let keys = self.keys.get(key, kv_head);
        let panel = local * width * TILE..(local + 1) * width * TILE;
        let (queries, d_out, d_queries) =
            (&queries[panel.clone()], &d_out[panel.clone()], &mut d_queries[panel]);

        for (a, b, c) in [(queries, keys_t, &mut *scores), (d_out, values_t, &mut *d_scores)] {
            for row in (0..rows).step_by(ROWS) {
                let n = visible(diagonal, row + ROWS - 1, len).next_multiple_of(V::N);
                let a = Left { data: &a[row * width..], row: width, step: 1 };
                product::<V>(n, dim, a, b, TILE, &mut c[row * TILE..], TILE, false);
            }
        }
        for row in 0..rows {
            let seen = visible(diagonal, row, len);
            let (lse, delta) = (V::splat(lse[local * TILE + row]), V::splat(delta[local * TILE + row]));
            let row = row * TILE..(row + 1) * TILE;
            let (scores, d_scores) = (&mut scores[row.clone()], &mut d_scores[row]);
            for i in steps::<V>(seen) {
                let p = exp(V::load_or(&scores[i..seen], f32::NEG_INFINITY) - lse);
                p.store(&mut scores[i..]);
                (p * (V::load(&d_scores[i..]) - delta)).store(&mut d_scores[i..]);
            }
        }
        for row in (0..rows).step_by(ROWS) {
            let a = Left { data: &d_scores[row * TILE..], row: TILE, step: 1 };
            let depth = visible(diagonal, row + ROWS - 1, len);
            product::<V>(width, depth, a, keys, width, &mut d_queries[row * width..], width, true);
        }
        for (a, b, c) in [(&*scores, d_out, d_values), (&*d_scores, queries, d_keys)] {
            for row in (0..len).step_by(ROWS) {
                // On the diagonal earlier queries do not see these keys.
                let first = if diagonal { row } else { 0 };
                let a = Left { data: &a[first * TILE + row..], row: 1, step: TILE };
                let c = &mut c[row * width..];
                product::<V>(width, rows - first, a, &b[first * width..], width, c, width, true);
            }
        }
    }
}

/// Adds up the gradients of keys and values over the query heads of each group.
struct GroupSums<'a> {
    heads: Heads,
    d_kv: &'a [f32],
    d_qkv: &'a mut [f32],
}

impl Kernel for GroupSums<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Lanes>(self) {
        let Heads { dim, .. } = self.heads;
        let rows = self.d_qkv.chunks_exact_mut(self.heads.qkv_width());
        for (d_qkv, d_kv) in rows.zip(self.d_kv.chunks_exact(2 * self.heads.query_width())) {
            let d_kv = d_kv.chunks_exact(self.heads.group() * dim);
            for (sum, group) in d_qkv[self.heads.query_width()..].chunks_exact_mut(dim).zip(d_kv) {
                for i in steps::<V>(dim) {
                    let mut total = V::load(&group[i..dim]);
                    for head in group.chunks_exact(dim).skip(1) {
                        total += V::load(&head[i..]);
                    }
                    total.store(&mut sum[i..]);
                }
            }
        }
    }
}
