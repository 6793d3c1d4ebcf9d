//! Packing: a part of an operand is converted to the cells of a panel.

use std::ops::Range;

#[cfg(target_arch = "x86_64")]
use super::lines::WideLines;
use super::lines::{LINE, Lines, Number, PlainLines};
use super::tile::PANEL;
use crate::Level;
use crate::mat::{Data, Mat};

/// What the four bytes of a cell hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cell {
    /// An f32.
    Float,
    /// An f32 that bf16 has, too.
    Rounded,
    /// Two bf16 that follow each other along k, the first in the lower half.
    Pair,
}

impl Cell {
    /// Cells for `k` numbers along the sum.
    pub(super) fn steps(self, k: usize) -> usize {
        match self {
            Self::Float | Self::Rounded => k,
            Self::Pair => k.div_ceil(2),
        }
    }
}

/// Packs the rows `lanes` of `source`, columns `depth`, as a panel of `width` columns: cell `s * width + i` holds what
/// row `lanes.start + i` has at step s. Columns beyond `lanes` and steps beyond `depth` become zero.
///
/// # Panics
/// If the source has no such part or the panel is too small for it.
pub(super) fn pack(
    level: Level,
    cell: Cell,
    source: &Mat,
    lanes: Range<usize>,
    depth: Range<usize>,
    width: usize,
    panel: &mut [u32],
) {
    assert!(lanes.end <= source.rows() && depth.end <= source.cols() && lanes.len() <= width);
    let (panel, beyond) = panel.split_at_mut(cell.steps(depth.len()) * width);
    beyond.fill(0);
    if lanes.is_empty() || depth.is_empty() {
        return panel.fill(0);
    }
    let (stride, along) = (source.stride(), !source.is_transposed());
    let start = if along { lanes.start * stride + depth.start } else { depth.start * stride + lanes.start };
    let part = Part { cell, stride, along, lanes: lanes.len(), depth: depth.len(), width };
    match source.data() {
        Data::F32(data) => part.dispatch(level, &data[start..], panel),
        Data::Bf16(data) => part.dispatch(level, &data[start..], panel),
        Data::Packed(weights) => {
            let (rows, cols) = if along { (lanes, depth) } else { (depth, lanes) };
            weights.unpack(level, rows, cols, |rows| {
                let source = if along { rows } else { rows.t() };
                pack(level, cell, &source, 0..source.rows(), 0..source.cols(), width, panel);
            });
        }
    }
}

/// A part of an operand, in memory from some place on.
struct Part {
    cell: Cell,
    stride: usize,
    /// Neighbours in memory follow each other along the sum; otherwise across the lanes.
    along: bool,
    lanes: usize,
    depth: usize,
    width: usize,
}

impl Part {
    fn dispatch<T: Number>(&self, level: Level, data: &[T], panel: &mut [u32]) {
        let (rows, cols) = if self.along { (self.lanes, self.depth) } else { (self.depth, self.lanes) };
        assert!((rows - 1) * self.stride + cols <= data.len());
        // SAFETY: a pool's level is one that the machine has; the part lies in `data` and the panel has its cells.
        unsafe {
            match level {
                #[cfg(target_arch = "x86_64")]
                Level::Avx512Bf16 => avx512bf16(self, data.as_ptr(), panel.as_mut_ptr()),
                #[cfg(target_arch = "x86_64")]
                Level::Avx512 => avx512(self, data.as_ptr(), panel.as_mut_ptr()),
                #[cfg(target_arch = "x86_64")]
                Level::Avx2 => avx2(self, data.as_ptr(), panel.as_mut_ptr()),
                _ => self.pack::<PlainLines, T>(data.as_ptr(), panel.as_mut_ptr()),
            }
        }
    }

    #[inline(always)]
    unsafe fn pack<L: Lines, T: Number>(&self, data: *const T, panel: *mut u32) {
        // SAFETY: by the assertions in `dispatch`.
        unsafe {
            match (self.along, self.cell) {
                (true, Cell::Float) => self.along::<L, T, FLOAT>(data, panel),
                (true, Cell::Rounded) => self.along::<L, T, ROUNDED>(data, panel),
                (true, Cell::Pair) => self.along::<L, T, PAIR>(data, panel),
                (false, Cell::Float) => self.across::<L, T, FLOAT>(data, panel),
                (false, Cell::Rounded) => self.across::<L, T, ROUNDED>(data, panel),
                (false, Cell::Pair) => self.across::<L, T, PAIR>(data, panel),
            }
        }
    }

    /// Rows of the source are lanes: blocks of 16 lanes by 16 steps are transposed in registers.
    #[inline(always)]
    unsafe fn along<L: Lines, T: Number, const CELL: u8>(&self, data: *const T, panel: *mut u32) {
        let steps = self.cell.steps(self.depth);
        let numbers = if CELL == PAIR { 2 * LINE } else { LINE };
        // SAFETY: rows and columns stay below `lanes` and `depth`, cells below `steps` and `width`.
        unsafe {
            for lane in (0..self.width).step_by(LINE) {
                for step in (0..steps).step_by(LINE) {
                    let first = step / LINE * numbers;
                    let count = self.depth - first;
                    let mut lines = [L::zero(); LINE];
                    for (i, packed) in lines.iter_mut().enumerate().take(self.lanes.saturating_sub(lane)) {
                        let from = data.add((lane + i) * self.stride + first);
                        let line = T::load::<L>(from, count);
                        *packed = match CELL {
                            FLOAT => line,
                            ROUNDED => L::round(line),
                            _ => L::pair_along(
                                line,
                                T::load::<L>(from.wrapping_add(LINE), count.saturating_sub(LINE)),
                            ),
                        };
                    }
                    for (i, line) in L::transpose(lines).into_iter().enumerate().take(steps - step) {
                        L::store(line, panel.add((step + i) * self.width + lane), self.width - lane);
                    }
                }
            }
        }
    }

    /// Rows of the source are steps.
    #[inline(always)]
    unsafe fn across<L: Lines, T: Number, const CELL: u8>(&self, data: *const T, panel: *mut u32) {
        let numbers = if CELL == PAIR { 2 } else { 1 };
        // SAFETY: as above.
        unsafe {
            for step in 0..self.cell.steps(self.depth) {
                for lane in (0..self.width).step_by(LINE) {
                    let count = self.lanes.saturating_sub(lane);
                    let from = data.wrapping_add(step * numbers * self.stride + lane);
                    let line = T::load::<L>(from, count);
                    let line = match CELL {
                        FLOAT => line,
                        ROUNDED => L::round(line),
                        _ => {
                            let count = if 2 * step + 1 < self.depth { count } else { 0 };
                            L::pair_across(line, T::load::<L>(from.wrapping_add(self.stride), count))
                        }
                    };
                    L::store(line, panel.add(step * self.width + lane), self.width - lane);
                }
            }
        }
    }
}

const FLOAT: u8 = 0;
const ROUNDED: u8 = 1;
const PAIR: u8 = 2;

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,avx2,fma")]
unsafe fn avx512bf16<T: Number>(part: &Part, data: *const T, panel: *mut u32) {
    // SAFETY: compiled for the level; the rest is passed on.
    unsafe { part.pack::<WideLines<true>, T>(data, panel) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx2,fma")]
unsafe fn avx512<T: Number>(part: &Part, data: *const T, panel: *mut u32) {
    // SAFETY: as above.
    unsafe { part.pack::<WideLines<false>, T>(data, panel) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn avx2<T: Number>(part: &Part, data: *const T, panel: *mut u32) {
    // SAFETY: as above.
    unsafe { part.pack::<PlainLines, T>(data, panel) }
}

/// Cells `steps` of rows `rows` of packed weights, row after row: the inverse of packing rows. `rows` are whole
/// lines of 16, and `panels` have 32 columns and lie `stride` cells apart.
///
/// # Panics
/// If there are no such rows or steps, or `out` is of another size.
pub(super) fn unpack(
    level: Level,
    panels: &[u32],
    stride: usize,
    rows: Range<usize>,
    steps: Range<usize>,
    out: &mut [u32],
) {
    assert!(rows.start.is_multiple_of(LINE) && rows.len().is_multiple_of(LINE));
    assert!(rows.end.div_ceil(PANEL) * stride <= panels.len() && steps.end * PANEL <= stride);
    assert_eq!(out.len(), rows.len() * steps.len());
    // SAFETY: a pool's level is one that the machine has; the assertions keep to `panels` and `out`.
    unsafe {
        match level {
            #[cfg(target_arch = "x86_64")]
            Level::Avx512Bf16 | Level::Avx512 => avx512_unpack(panels, stride, rows, steps, out),
            _ => unpack_lines::<PlainLines>(panels, stride, rows, steps, out),
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx2,fma")]
unsafe fn avx512_unpack(
    panels: &[u32],
    stride: usize,
    rows: Range<usize>,
    steps: Range<usize>,
    out: &mut [u32],
) {
    // SAFETY: as above.
    unsafe { unpack_lines::<WideLines<false>>(panels, stride, rows, steps, out) }
}

#[inline(always)]
unsafe fn unpack_lines<L: Lines>(
    panels: &[u32],
    stride: usize,
    rows: Range<usize>,
    steps: Range<usize>,
    out: &mut [u32],
) {
    // SAFETY: by the assertions in `unpack`.
    unsafe {
        for (index, row) in rows.step_by(LINE).enumerate() {
            for step in steps.clone().step_by(LINE) {
                let count = LINE.min(steps.end - step);
                let from = panels.as_ptr().add(row / PANEL * stride + step * PANEL + row % PANEL);
                let mut lines = [L::zero(); LINE];
                for (i, line) in lines.iter_mut().enumerate().take(count) {
                    *line = L::load(from.add(i * PANEL), LINE);
                }
                for (i, line) in L::transpose(lines).into_iter().enumerate() {
                    let to = (index * LINE + i) * steps.len() + step - steps.start;
                    L::store(line, out.as_mut_ptr().add(to), count);
                }
            }
        }
    }
}
