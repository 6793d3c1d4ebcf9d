//! Products by blocks: a is packed whole or by parts, b by blocks that stay in the second-level cache.

use std::ops::Range;

use super::pack::{Cell, pack};
use super::packed::Packed;
use super::scratch::{self, Scratch};
use super::tile::{Kind, PANEL, Tile, highest, pick};
use crate::pool::{Disjoint, share};
use crate::{Level, Mat, Pool};

/// Steps of a block along the sum. A panel of a of that many steps stays in the first-level cache.
const STEPS: usize = 512;
/// Cells of a block of a (4 MiB): it is read again for each block of b, from the last-level cache.
const LEFT: usize = 1 << 20;
/// Cells of a block of b (512 KiB): it stays in the second-level cache while all of a passes.
const RIGHT: usize = 1 << 17;
/// Cells up to which each worker packs a for itself: cheaper than waiting for the others.
const ALONE: usize = 1 << 13;
/// Cells up to which a stays in the second-level cache, and b passes once.
const SMALL: usize = 1 << 16;

/// b^T, columns of b being rows here.
#[derive(Clone, Copy)]
pub(super) enum Right<'a> {
    Source(Mat<'a>),
    Packed(&'a Packed),
}

/// c (+)= a b, none of them empty.
pub(super) struct Product<'a> {
    pub level: Level,
    pub kind: Kind,
    /// Cells a is packed to.
    pub left_cell: Cell,
    /// Cells b is packed to, or is already.
    pub right_cell: Cell,
    pub a: Mat<'a>,
    pub b: Right<'a>,
    pub n: usize,
    pub c: Disjoint<'a, f32>,
    pub c_stride: usize,
    pub accumulate: bool,
}

/// Rows or columns that are packed together, and the part of the sum they are packed for.
struct Block<'a> {
    cells: &'a [u32],
    rows: Range<usize>,
    depth: Range<usize>,
}

impl Product<'_> {
    pub(super) fn run(&self, pool: &Pool) {
        let (m, k) = (self.a.rows(), self.a.cols());
        let single = m * self.left_width(k) <= SMALL;
        let depths = if single { 1 } else { self.right_cell.steps(k).div_ceil(STEPS) };
        // Even numbers, so that no pair is torn.
        let depth = k.div_ceil(depths).next_multiple_of(2);
        let heights = m.div_ceil((LEFT / self.left_width(depth)).max(highest(self.level)));
        for block in 0..heights {
            let rows = share(m, heights, block);
            for start in (0..k).step_by(depth) {
                self.rank(pool, &rows, start..k.min(start + depth));
            }
        }
    }

    /// Cells of a for one row and `k` numbers: whole steps.
    fn left_width(&self, k: usize) -> usize {
        self.right_cell.steps(k) * if self.kind == Kind::Widening { 2 } else { 1 }
    }

    /// Adds the part `depth` of the sums to `rows` of c.
    fn rank(&self, pool: &Pool, rows: &Range<usize>, depth: Range<usize>) {
        let width = self.left_width(depth.len());
        let cells = rows.len() * width;
        let panels = rows.len().div_ceil(highest(self.level));
        let pack_panels = |range: Range<usize>, out: &Disjoint<u32>| {
            for panel in range {
                let lanes = share(rows.len(), panels, panel);
                // SAFETY: a panel is packed by one worker.
                let out = unsafe { out.slice(lanes.start * width..lanes.end * width) };
                let lanes = rows.start + lanes.start..rows.start + lanes.end;
                pack(self.level, self.left_cell, &self.a, lanes.clone(), depth.clone(), lanes.len(), out);
            }
        };
        if cells <= ALONE {
            pool.run(|worker| {
                scratch::with(Scratch::Left, cells, |cells| {
                    pack_panels(0..panels, &Disjoint::new(cells));
                    self.work(
                        &Block { cells, rows: rows.clone(), depth: depth.clone() },
                        pool.threads(),
                        worker,
                    );
                });
            });
        } else {
            scratch::with(Scratch::Left, cells, |cells| {
                let parts = Disjoint::new(cells);
                pool.run(|worker| pack_panels(share(panels, pool.threads(), worker), &parts));
                let block = Block { cells, rows: rows.clone(), depth: depth.clone() };
                pool.run(|worker| self.work(&block, pool.threads(), worker));
            });
        }
    }

    /// A worker's part: some columns, or where there are too few, some rows of some columns.
    fn work(&self, left: &Block, threads: usize, worker: usize) {
        let (high, wide) = (left.rows.len().div_ceil(highest(self.level)), self.n.div_ceil(PANEL));
        let across = (1..=threads)
            .filter(|across| threads.is_multiple_of(*across))
            .min_by_key(|across| (high.div_ceil(threads / across) * wide.div_ceil(*across), threads - across))
            .unwrap_or(1);
        let high = share(high, threads / across, worker / across);
        let wide = share(wide, across, worker % across);
        if high.is_empty() || wide.is_empty() {
            return;
        }
        let steps = self.right_cell.steps(left.depth.len());
        let panels = if left.cells.len() <= SMALL {
            if high.len() == 1 { 4 } else { 1 }
        } else {
            (RIGHT / (steps * PANEL)).max(1)
        };
        for first in wide.clone().step_by(panels) {
            let columns = first * PANEL..self.n.min(wide.end.min(first + panels) * PANEL);
            match self.b {
                Right::Packed(weights) => {
                    let start = first * weights.stride() + self.right_cell.steps(left.depth.start) * PANEL;
                    self.block(left, &high, &weights.cells()[start..], weights.stride(), columns);
                }
                Right::Source(source) => {
                    let size = steps * PANEL;
                    let count = columns.len().div_ceil(PANEL);
                    scratch::with(Scratch::Right, count * size, |cells| {
                        for (index, panel) in cells.chunks_exact_mut(size).enumerate() {
                            let start = columns.start + index * PANEL;
                            let lanes = start..columns.end.min(start + PANEL);
                            pack(
                                self.level,
                                self.right_cell,
                                &source,
                                lanes,
                                left.depth.clone(),
                                PANEL,
                                panel,
                            );
                        }
                        self.block(left, &high, cells, size, columns.clone());
                    });
                }
            }
        }
    }

    /// The panels `high` of a by packed columns of b.
    fn block(&self, left: &Block, high: &Range<usize>, right: &[u32], stride: usize, columns: Range<usize>) {
        let panels = left.rows.len().div_ceil(highest(self.level));
        let width = self.left_width(left.depth.len());
        let steps = self.right_cell.steps(left.depth.len());
        assert!((columns.len().div_ceil(PANEL) - 1) * stride + steps * PANEL <= right.len());
        for panel in high.clone() {
            let rows = share(left.rows.len(), panels, panel);
            let mut column = columns.start;
            while column < columns.end {
                let remaining = columns.end - column;
                let (kernel, cols) = pick(self.level, self.kind, rows.len(), remaining);
                let offset = column - columns.start;
                let b = &right[offset / PANEL * stride + offset % PANEL..];
                let tile = Tile {
                    steps,
                    a: left.cells[rows.start * width..].as_ptr(),
                    b: b.as_ptr(),
                    b_stride: stride,
                    c: self.c.start().wrapping_add((left.rows.start + rows.start) * self.c_stride + column),
                    c_stride: self.c_stride,
                    cols: remaining,
                    accumulate: self.accumulate || left.depth.start > 0,
                    ahead: b.as_ptr().wrapping_add(1024),
                    ahead_step: PANEL,
                };
                // SAFETY: a pool's level is one that the machine has. The panels of a and b have `steps` steps, by
                // their packing and by the assertion above; the rows and columns of c are this worker's alone, and
                // `gemm` has checked that they exist.
                unsafe { kernel(&tile) };
                column += cols;
            }
        }
    }
}
