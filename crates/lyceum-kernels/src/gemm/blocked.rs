//! Products by blocks: b passes by blocks that stay in the second-level cache, and a goes by each of them.

use std::ops::Range;
use std::sync::atomic::AtomicU32;

use super::ahead::Ahead;
use super::left::Left;
use super::pack::{Cell, Packing, pack};
use super::packed::Packed;
use super::scratch::{self, Scratch};
use super::tile::{Kind, PANEL, Tile, highest, pick};
use crate::pool::{Disjoint, share};
use crate::{Level, Mat, Pool};

/// Most steps of a block along the sum.
const STEPS: usize = 768;
/// The same where operands are not rounded: shorter sums round less, and those of large models' f32 gradients need it.
const EXACT_STEPS: usize = 256;
/// Most cells of a block of a (4 MiB): it is read again for each block of b, from the last-level cache.
const LEFT: usize = 1 << 20;
/// Most cells of a block of b (192 KiB): it stays in the second-level cache while all of a goes by.
const RIGHT: usize = 48 << 10;
/// Cells up to which a stays in the second-level cache itself: then b passes in smaller blocks, that stay nearer.
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

/// Columns of b, packed.
struct Block<'a> {
    columns: Range<usize>,
    cells: &'a [u32],
    /// Cells from one panel to the next.
    stride: usize,
    /// What follows.
    ahead: Ahead,
    /// No block has gone before: panels of a may still have to be packed.
    first: bool,
}

impl Product<'_> {
    pub(super) fn run(&self, pool: &Pool) {
        let (m, k) = (self.a.rows(), self.a.cols());
        // Cut alike for every m, as each part is a sum of its own; at even numbers, so that no pair is torn.
        let steps = if self.left_cell == Cell::Float { EXACT_STEPS } else { STEPS };
        let depths = self.right_cell.steps(k).div_ceil(steps);
        let depth = k.div_ceil(depths).next_multiple_of(2);
        let blocks = m.div_ceil((LEFT / self.left_width(depth)).max(highest(self.level)));
        for block in 0..blocks {
            for start in (0..k).step_by(depth) {
                self.rank(pool, share(m, blocks, block), start..k.min(start + depth));
            }
        }
    }

    /// Cells of a for one row and `k` numbers: whole steps.
    fn left_width(&self, k: usize) -> usize {
        self.right_cell.steps(k) * if self.kind == Kind::Widening { 2 } else { 1 }
    }

    /// Adds the part `depth` of the sums to `rows` of c.
    fn rank(&self, pool: &Pool, rows: Range<usize>, depth: Range<usize>) {
        let width = self.left_width(depth.len());
        let panels = rows.len().div_ceil(highest(self.level));
        scratch::with(Scratch::Left, Left::size(rows.len(), width, panels), |cells| {
            scratch::with(Scratch::States, panels, |states| {
                states.fill(0);
                let left = Left {
                    source: self.a,
                    rows,
                    depth,
                    cell: self.left_cell,
                    width,
                    panels,
                    states: atomic(states),
                    cells: Disjoint::new(cells),
                };
                left.prepare(pool);
                pool.run(|worker| self.work(&left, pool.threads(), worker));
            });
        });
    }

    /// A worker's part: some columns, or where there are too few, some rows of some columns.
    fn work(&self, left: &Left, threads: usize, worker: usize) {
        let wide = self.n.div_ceil(PANEL);
        let across = (1..=threads)
            .filter(|across| threads.is_multiple_of(*across))
            .min_by_key(|across| {
                (left.panels.div_ceil(threads / across) * wide.div_ceil(*across), threads - across)
            })
            .unwrap_or(1);
        let high = share(left.panels, threads / across, worker / across);
        let wide = share(wide, across, worker % across);
        if high.is_empty() || wide.is_empty() {
            return;
        }
        // Workers that share panels of a begin with different ones, so that each packs some.
        let shift = worker % across * high.len() / across;

        let steps = self.right_cell.steps(left.depth.len());
        // Small a stays near, and each panel of b is used up at once.
        let small = left.rows.len() * left.width <= SMALL;
        let panels = if small { 1 } else { (RIGHT / (steps * PANEL)).max(1) };
        let columns = |first: usize| first * PANEL..self.n.min(wide.end.min(first + panels) * PANEL);
        for start in wide.clone().step_by(panels) {
            let (first, columns, next) = (start == wide.start, columns(start), columns(start + panels));
            match self.b {
                Right::Packed(weights) => {
                    let stride = weights.stride();
                    let from = |panel| panel * stride + self.right_cell.steps(left.depth.start) * PANEL;
                    let cells = &weights.cells()[from(start)..];
                    let ahead = if small {
                        Ahead::panel(cells.as_ptr().wrapping_add(stride), steps, high.len())
                    } else {
                        Ahead::NOTHING
                    };
                    self.block(left, &high, shift, &Block { columns, cells, stride, ahead, first });
                }
                Right::Source(source) => {
                    let stride = steps * PANEL;
                    scratch::with(Scratch::Right, columns.len().div_ceil(PANEL) * stride, |cells| {
                        let packing = Packing {
                            cell: self.right_cell,
                            source: &source,
                            lanes: columns.clone(),
                            depth: left.depth.clone(),
                            width: PANEL,
                            steps,
                            stride,
                        };
                        pack(self.level, &packing, cells);
                        let ahead = Ahead::source(&source, &next, &left.depth, steps);
                        self.block(left, &high, shift, &Block { columns, cells, stride, ahead, first });
                    });
                }
            }
        }
    }

    /// The panels `high` of a by a block of b, beginning `shift` panels further on.
    fn block(&self, left: &Left, high: &Range<usize>, shift: usize, right: &Block) {
        let steps = self.right_cell.steps(left.depth.len());
        let columns = &right.columns;
        assert!((columns.len().div_ceil(PANEL) - 1) * right.stride + steps * PANEL <= right.cells.len());
        let panel = |index: usize| high.start + (shift + index) % high.len();
        for index in 0..high.len() {
            let rows = left.panel_rows(panel(index));
            let a = left.panel(self.level, panel(index));
            let (kernel, width) = pick(self.level, self.kind, rows.len());
            let tiles = columns.len().div_ceil(width);
            // In the first pass the panel of a that comes next, else, in the last tiles, the block of b that does.
            let (ahead, mut waiting) = if right.first && index + 1 < high.len() {
                (left.ahead(panel(index + 1), steps), 0)
            } else {
                let remaining = (high.len() - index) * tiles;
                (right.ahead, remaining as isize - right.ahead.tiles() as isize)
            };
            let c = |panel: usize, column: usize| {
                let row = left.rows.start + left.panel_rows(panel).start;
                self.c.start().wrapping_add(row * self.c_stride + column)
            };
            let mut column = columns.start;
            while column < columns.end {
                let offset = column - columns.start;
                let (ahead_start, ahead_step) = ahead.at(waiting);
                let tile = Tile {
                    steps,
                    a: a.as_ptr(),
                    b: right.cells[offset / PANEL * right.stride + offset % PANEL..].as_ptr(),
                    c: c(panel(index), column),
                    c_stride: self.c_stride,
                    cols: columns.end - column,
                    accumulate: self.accumulate || left.depth.start > 0,
                    c_ahead: if column + width < columns.end {
                        c(panel(index), column + width)
                    } else {
                        c(panel(index + 1), columns.start)
                    },
                    ahead: ahead_start,
                    ahead_step,
                };
                // SAFETY: a pool's level is one that the machine has. The panels of a and b have `steps` steps, by
                // their packing and by the assertion above; the rows and columns of c are this worker's alone, and
                // `gemm` has checked that they exist.
                unsafe { kernel(&tile) };
                column += width;
                waiting -= 1;
            }
        }
    }
}

/// Cells as flags for several workers.
fn atomic(cells: &mut [u32]) -> &[AtomicU32] {
    // SAFETY: an `AtomicU32` is a `u32` in memory, and `cells` is borrowed mutably for as long as the flags.
    unsafe { std::slice::from_raw_parts(cells.as_mut_ptr().cast(), cells.len()) }
}
