//! Packing: a part of an operand is converted to the cells of a panel.

use std::array::from_fn;
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

/// Panels to pack, and what from.
pub(super) struct Packing<'a> {
    pub cell: Cell,
    pub source: &'a Mat<'a>,
    /// Rows of the source: the columns of the panels.
    pub lanes: Range<usize>,
    /// Columns of the source, along the sum.
    pub depth: Range<usize>,
    /// Columns of a panel.
    pub width: usize,
    /// Steps of a panel; those beyond `depth` become zero.
    pub steps: usize,
    /// Cells from one panel to the next.
    pub stride: usize,
}

/// Packs as many panels of `width` columns as `lanes` fill: cell `p * stride + s * width + i` of `out` holds what row
/// `p * width + i` of the lanes has at step s. Columns of the last panel beyond the lanes hold anything.
///
/// # Panics
/// If the source has no such part or `out` is too small.
pub(super) fn pack(level: Level, packing: &Packing, out: &mut [u32]) {
    let Packing { cell, source, lanes, depth, width, steps, stride } = packing;
    let (width, stride, row) = (*width, *stride, source.stride());
    let filled = cell.steps(depth.len());
    assert!(
        lanes.end <= source.rows()
            && depth.end <= source.cols()
            && filled <= *steps
            && steps * width <= stride
    );
    if lanes.is_empty() || depth.is_empty() {
        return;
    }
    for panel in out.chunks_mut(stride) {
        panel[filled * width..steps * width].fill(0);
    }
    let panels = lanes.len().div_ceil(width);
    assert!((panels - 1) * stride + steps * width <= out.len());
    let along = !source.is_transposed();
    let (rows, cols) = if along { (lanes, depth) } else { (depth, lanes) };
    let part = Part { along, row, lanes: lanes.len(), depth: depth.len(), filled, panels, width, stride };
    match source.data() {
        Data::F32(data) => part.dispatch(level, *cell, &data[rows.start * row + cols.start..], out),
        Data::Bf16(data) => part.dispatch(level, *cell, &data[rows.start * row + cols.start..], out),
        Data::Packed(weights) => weights.unpack(level, rows.clone(), cols.clone(), |part| {
            let source = &if along { part } else { part.t() };
            let (lanes, depth) = (0..source.rows(), 0..source.cols());
            pack(level, &Packing { source, lanes, depth, ..*packing }, out);
        }),
    }
}

/// A part of an operand, in memory from some place on.
struct Part {
    /// Neighbours in memory follow each other along the sum; otherwise across the lanes.
    along: bool,
    /// Numbers from one row in memory to the next.
    row: usize,
    lanes: usize,
    depth: usize,
    /// Steps that hold anything.
    filled: usize,
    panels: usize,
    width: usize,
    stride: usize,
}

impl Part {
    fn dispatch<T: Number>(&self, level: Level, cell: Cell, data: &[T], out: &mut [u32]) {
        let (rows, cols) = if self.along { (self.lanes, self.depth) } else { (self.depth, self.lanes) };
        assert!((rows - 1) * self.row + cols <= data.len());
        // SAFETY: a pool's level is one that the machine has; the part lies in `data`, and `out` has the panels.
        unsafe {
            match level {
                #[cfg(target_arch = "x86_64")]
                Level::Avx512Bf16 => avx512bf16(self, cell, data.as_ptr(), out.as_mut_ptr()),
                #[cfg(target_arch = "x86_64")]
                Level::Avx512 => avx512(self, cell, data.as_ptr(), out.as_mut_ptr()),
                #[cfg(target_arch = "x86_64")]
                Level::Avx2 => avx2(self, cell, data.as_ptr(), out.as_mut_ptr()),
                _ => self.pack::<PlainLines, T>(cell, data.as_ptr(), out.as_mut_ptr()),
            }
        }
    }

    #[inline(always)]
    unsafe fn pack<L: Lines, T: Number>(&self, cell: Cell, data: *const T, out: *mut u32) {
        // SAFETY: by the assertions in `dispatch`.
        unsafe {
            match (self.along, cell) {
                (true, Cell::Float) => self.along::<L, T, FLOAT>(data, out),
                (true, Cell::Rounded) => self.along::<L, T, ROUNDED>(data, out),
                (true, Cell::Pair) => self.along::<L, T, PAIR>(data, out),
                (false, Cell::Float) => self.across::<L, T, FLOAT>(data, out),
                (false, Cell::Rounded) => self.across::<L, T, ROUNDED>(data, out),
                (false, Cell::Pair) => self.across::<L, T, PAIR>(data, out),
            }
        }
    }

    /// Rows in memory are lanes: blocks of 16 lanes by 16 steps are transposed in registers.
    #[inline(always)]
    #[expect(clippy::needless_range_loop, reason = "loops of a constant length keep the lines in registers")]
    unsafe fn along<L: Lines, T: Number, const CELL: u8>(&self, data: *const T, out: *mut u32) {
        let numbers = if CELL == PAIR { 2 * LINE } else { LINE };
        // SAFETY: rows and columns stay below `lanes` and `depth`, cells below `filled` and `width`.
        unsafe {
            for panel in 0..self.panels {
                for lane in (0..self.width).step_by(LINE) {
                    // The columns beyond the last lane repeat it: nobody looks at them.
                    let lane_row = |i: usize| (panel * self.width + lane + i).min(self.lanes - 1) * self.row;
                    let rows: [usize; LINE] = from_fn(lane_row);
                    for step in (0..self.filled).step_by(LINE) {
                        let first = step / LINE * numbers;
                        let count = self.depth - first;
                        let mut lines = [L::zero(); LINE];
                        for i in 0..LINE {
                            let from = data.wrapping_add(rows[i] + first);
                            L::prefetch(from.wrapping_add(4 * numbers).cast());
                            let line = T::load::<L>(from, count);
                            lines[i] = match CELL {
                                FLOAT => line,
                                ROUNDED => L::round(line),
                                _ => {
                                    let second =
                                        T::load::<L>(from.wrapping_add(LINE), count.saturating_sub(LINE));
                                    L::pair_along(line, second)
                                }
                            };
                        }
                        let lines = L::transpose(lines);
                        let to = out.add(panel * self.stride + step * self.width + lane);
                        for i in 0..LINE {
                            if i < self.filled - step {
                                L::store(lines[i], to.add(i * self.width), self.width - lane);
                            }
                        }
                    }
                }
            }
        }
    }

    /// Rows in memory are steps: each is read once from end to end.
    #[inline(always)]
    unsafe fn across<L: Lines, T: Number, const CELL: u8>(&self, data: *const T, out: *mut u32) {
        let numbers = if CELL == PAIR { 2 } else { 1 };
        // SAFETY: as above.
        unsafe {
            for step in 0..self.filled {
                let row = data.add(step * numbers * self.row);
                let second = CELL == PAIR && numbers * step + 1 < self.depth;
                for panel in 0..self.panels {
                    for lane in (0..self.width).step_by(LINE) {
                        let first = panel * self.width + lane;
                        let count = self.lanes.saturating_sub(first);
                        let line = T::load::<L>(row.wrapping_add(first), count);
                        let line = match CELL {
                            FLOAT => line,
                            ROUNDED => L::round(line),
                            _ => {
                                let next = row.wrapping_add(self.row + first);
                                L::pair_across(line, T::load::<L>(next, if second { count } else { 0 }))
                            }
                        };
                        let to = out.add(panel * self.stride + step * self.width + lane);
                        L::store(line, to, self.width - lane);
                    }
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
unsafe fn avx512bf16<T: Number>(part: &Part, cell: Cell, data: *const T, out: *mut u32) {
    // SAFETY: compiled for the level; the rest is passed on.
    unsafe { part.pack::<WideLines<true>, T>(cell, data, out) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx2,fma")]
unsafe fn avx512<T: Number>(part: &Part, cell: Cell, data: *const T, out: *mut u32) {
    // SAFETY: as above.
    unsafe { part.pack::<WideLines<false>, T>(cell, data, out) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn avx2<T: Number>(part: &Part, cell: Cell, data: *const T, out: *mut u32) {
    // SAFETY: as above.
    unsafe { part.pack::<PlainLines, T>(cell, data, out) }
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
