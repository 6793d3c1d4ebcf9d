//! What the micro-kernels bring near while they compute, so that packing and streaming do not wait for memory.

use std::ops::Range;

use super::tile::PANEL;
use crate::Mat;
use crate::mat::Data;

/// Bytes a micro-kernel asks for in each step: as many as a step reads of a panel.
const STRIDE: usize = PANEL * size_of::<u32>();
/// How far ahead of its use memory is asked for when it is used once, in bytes.
const DISTANCE: usize = 4096;

/// A part of memory, divided between consecutive tiles: what follows is walked step by step, `STRIDE` bytes wide,
/// and in several sweeps where it is wider.
#[derive(Clone, Copy)]
pub(super) struct Ahead {
    start: *const u8,
    /// Bytes from one step to the next.
    step: usize,
    /// Bytes from one tile to the next in a sweep.
    tile: usize,
    /// Tiles of a sweep.
    length: usize,
    sweeps: usize,
    /// Bytes from one sweep to the next.
    sweep: usize,
}

impl Ahead {
    pub(super) const NOTHING: Self =
        Self { start: std::ptr::null(), step: 0, tile: 0, length: 0, sweeps: 0, sweep: 0 };

    /// Rows `lanes` and columns `depth` of a source, to be packed next, for tiles of `steps` steps.
    pub(super) fn source(source: &Mat, lanes: &Range<usize>, depth: &Range<usize>, steps: usize) -> Self {
        let (base, size) = match source.data() {
            Data::F32(data) => (data.as_ptr().cast::<u8>(), size_of::<f32>()),
            Data::Bf16(data) => (data.as_ptr().cast::<u8>(), size_of::<u16>()),
            Data::Packed(_) => return Self::NOTHING,
        };
        if lanes.is_empty() || depth.is_empty() {
            return Self::NOTHING;
        }
        let (rows, cols) = if source.is_transposed() { (depth, lanes) } else { (lanes, depth) };
        let (stride, width) = (source.stride() * size, cols.len() * size);
        let start = base.wrapping_add(rows.start * stride + cols.start * size);
        if rows.len() > steps / 2 {
            let length = rows.len().div_ceil(steps);
            let sweeps = width.div_ceil(STRIDE);
            Self { start, step: stride, tile: steps * stride, length, sweeps, sweep: STRIDE }
        } else if stride < 2 * width {
            // Rows that nearly touch: as one.
            let length = (rows.len() * stride).div_ceil(steps * STRIDE);
            Self { start, step: STRIDE, tile: steps * STRIDE, length, sweeps: 1, sweep: 0 }
        } else {
            // Few long rows far from each other: the hardware follows them by itself.
            Self::NOTHING
        }
    }

    /// A packed panel, while one before it is used `passes` times: a part of it in each pass. In a single pass, the
    /// panel in use itself, some steps ahead; what follows it in memory then is the next panel.
    pub(super) fn panel(start: *const u32, steps: usize, passes: usize) -> Self {
        let panel = steps * STRIDE;
        if passes == 1 {
            let start = start.cast::<u8>().wrapping_sub(panel).wrapping_add(DISTANCE);
            return Self { start, step: STRIDE, tile: 0, length: 1, sweeps: 1, sweep: 0 };
        }
        let tile = panel / passes;
        Self { start: start.cast(), step: STRIDE.div_ceil(passes), tile, length: passes, sweeps: 1, sweep: 0 }
    }

    /// Tiles it takes to bring everything.
    pub(super) fn tiles(&self) -> usize {
        self.length * self.sweeps
    }

    /// Where a tile starts that has to wait for `waiting` others, and its bytes from step to step. Before and after
    /// its time there is nothing new.
    pub(super) fn at(&self, waiting: isize) -> (*const u8, usize) {
        match usize::try_from(-waiting) {
            Ok(tile) if tile < self.tiles() => {
                let offset = tile / self.length * self.sweep + tile % self.length * self.tile;
                (self.start.wrapping_add(offset), self.step)
            }
            _ => (self.start, 0),
        }
    }
}
