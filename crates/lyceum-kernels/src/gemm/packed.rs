use std::ops::Range;

use half::bf16;

use super::Precision;
use super::pack::{Cell, Packing, pack, unpack};
use super::scratch::{self, Scratch};
use super::tile::PANEL;
use crate::pool::{Disjoint, share};
use crate::{HugeVec, Level, Mat, Pool};

/// Weights W (n x k) laid out once for the products x W^T: panels of 32 rows, inside them step by step along k. The
/// layout is the same at every level.
#[derive(Clone, Debug)]
pub struct Packed {
    rows: usize,
    cols: usize,
    precision: Precision,
    cells: HugeVec<u32>,
}

impl Packed {
    /// Packs `w`, rows being outputs and columns inputs.
    #[must_use]
    pub fn pack(pool: &Pool, precision: Precision, w: Mat) -> Self {
        let (rows, cols) = (w.rows(), w.cols());
        let cells = HugeVec::zeroed(size(precision, rows, cols));
        let mut packed = Self { rows, cols, precision, cells };
        packed.repack(pool, w);
        packed
    }

    /// Zero weights for [`Packed::repack`], one for each shape of rows and columns, side by side: a model's weights lie on
    /// huge pages even where each alone is small, which decoding one sequence at a time takes for its speed.
    #[must_use]
    pub fn side_by_side(precision: Precision, shapes: &[(usize, usize)]) -> Vec<Self> {
        let sizes: Vec<_> = shapes.iter().map(|&(rows, cols)| size(precision, rows, cols)).collect();
        let packed = |(&(rows, cols), cells)| Self { rows, cols, precision, cells };
        shapes.iter().zip(HugeVec::side_by_side(&sizes)).map(packed).collect()
    }

    /// Replaces the weights by others of the same shape, in place.
    ///
    /// # Panics
    /// If the shape differs.
    pub fn repack(&mut self, pool: &Pool, w: Mat) {
        assert_eq!((w.rows(), w.cols()), (self.rows, self.cols), "repacking cannot change the shape");
        let (rows, cols, cell, stride) = (self.rows, self.cols, self.cell(), self.stride());
        let cells = Disjoint::new(&mut self.cells);
        pool.run(|worker| {
            let panels = share(rows.div_ceil(PANEL), pool.threads(), worker);
            let lanes = panels.start * PANEL..rows.min(panels.end * PANEL);
            // SAFETY: a panel belongs to one worker.
            let out = unsafe { cells.slice(panels.start * stride..panels.end * stride) };
            let steps = cell.steps(cols);
            let packing = Packing { cell, source: &w, lanes, depth: 0..cols, width: PANEL, steps, stride };
            pack(pool.level(), &packing, out);
        });
    }

    /// Number of rows of W: outputs.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns of W: inputs.
    #[must_use]
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Precision the weights are kept in, and that of the products with them.
    #[must_use]
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// W as a matrix, an operand of [`gemm`](crate::gemm): dX = dY W needs no other copy of the weights.
    #[must_use]
    pub fn view(&self) -> Mat<'_> {
        Mat::packed(self)
    }

    /// Memory of the packed weights, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        size_of_val(&*self.cells)
    }

    fn cell(&self) -> Cell {
        cell(self.precision)
    }

    pub(super) fn cells(&self) -> &[u32] {
        &self.cells
    }

    /// Cells from one panel to the next.
    pub(super) fn stride(&self) -> usize {
        self.cell().steps(self.cols) * PANEL
    }

    /// Calls `f` with a copy of some rows and columns as a matrix.
    pub(super) fn unpack(&self, level: Level, rows: Range<usize>, cols: Range<usize>, f: impl FnOnce(Mat)) {
        // Whole lines of 16 rows, and whole cells.
        let first = rows.start / 16 * 16;
        let count = (rows.end - first).next_multiple_of(16);
        let per_cell = if self.precision == Precision::Bf16 { 2 } else { 1 };
        let steps = cols.start / per_cell..cols.end.div_ceil(per_cell);
        let width = steps.len() * per_cell;
        scratch::with(Scratch::Unpacked, count * steps.len(), |out| {
            unpack(level, &self.cells, self.stride(), first..first + count, steps.clone(), out);
            let skip = (rows.start - first) * width + cols.start - steps.start * per_cell;
            f(match self.precision {
                Precision::F32 => Mat::f32(&bytemuck::cast_slice(out)[skip..], rows.len(), cols.len()),
                Precision::Bf16 => Mat::bf16(&bytemuck::cast_slice(out)[skip..], rows.len(), cols.len()),
            }
            .with_stride(width));
        });
    }

    pub(crate) fn at(&self, row: usize, col: usize) -> f32 {
        let cell = |step: usize| self.cells[row / PANEL * self.stride() + step * PANEL + row % PANEL];
        match self.precision {
            Precision::F32 => f32::from_bits(cell(col)),
            Precision::Bf16 => bf16::from_bits((cell(col / 2) >> (16 * (col % 2))) as u16).to_f32(),
        }
    }
}

/// What weights of a precision are kept in.
fn cell(precision: Precision) -> Cell {
    match precision {
        Precision::F32 => Cell::Float,
        Precision::Bf16 => Cell::Pair,
    }
}

/// Cells that weights of a shape need.
fn size(precision: Precision, rows: usize, cols: usize) -> usize {
    rows.div_ceil(PANEL) * cell(precision).steps(cols) * PANEL
}
