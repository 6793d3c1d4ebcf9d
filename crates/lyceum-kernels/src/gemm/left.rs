//! The packed left operand.

use std::ops::Range;
use std::sync::atomic::{AtomicU32, Ordering};

use super::ahead::Ahead;
use super::pack::{Cell, Packing, pack};
use crate::pool::{Disjoint, share};
use crate::{Level, Mat, Pool};

/// Rows of a, packed panel by panel by whichever worker needs one first: packing is spread over the first pass and
/// hidden behind it, and workers do not wait for each other to begin.
///
/// Where rows of a lie across those in memory, panels are too narrow to be read one by one: they are packed together.
pub(super) struct Left<'a> {
    pub source: Mat<'a>,
    pub rows: Range<usize>,
    pub depth: Range<usize>,
    pub cell: Cell,
    /// Cells of a row.
    pub width: usize,
    /// Number of panels.
    pub panels: usize,
    /// One for each panel.
    pub states: &'a [AtomicU32],
    pub cells: Disjoint<'a, u32>,
}

const RAW: u32 = 0;
const BUSY: u32 = 1;
const READY: u32 = 2;

/// Cells from which a region to pack them beforehand pays.
const TOGETHER: usize = 1 << 12;

/// Cells between panels: at distances of powers of two they would fall on the same lines of a cache.
const GAP: usize = 16;

impl Left<'_> {
    /// Cells needed for panels of some rows.
    pub(super) fn size(rows: usize, width: usize, panels: usize) -> usize {
        rows * width + panels * GAP
    }

    /// Rows of a panel, counted from the first of `rows`.
    pub(super) fn panel_rows(&self, panel: usize) -> Range<usize> {
        share(self.rows.len(), self.panels, panel)
    }

    /// The cells of a panel, packed.
    pub(super) fn panel(&self, level: Level, panel: usize) -> &[u32] {
        let rows = self.panel_rows(panel);
        let cells = rows.start * self.width + panel * GAP..rows.end * self.width + panel * GAP;
        let state = &self.states[panel];
        match state.compare_exchange(RAW, BUSY, Ordering::Acquire, Ordering::Acquire) {
            Ok(_) => {
                // SAFETY: who has made the panel busy is alone with it until it is ready.
                let cells = unsafe { self.cells.slice(cells.clone()) };
                self.pack(level, rows.clone(), rows.len(), cells);
                state.store(READY, Ordering::Release);
            }
            Err(_) => {
                let mut spins = 0_u32;
                while state.load(Ordering::Acquire) != READY {
                    spins += 1;
                    if spins < 1000 { std::hint::spin_loop() } else { std::thread::yield_now() }
                }
            }
        }
        // SAFETY: a ready panel is not written any more.
        unsafe { self.cells.slice(cells) }
    }

    /// Packs a worker's share of the panels beforehand if that is better.
    pub(super) fn prepare(&self, pool: &Pool) {
        if !self.source.is_transposed() || self.rows.len() * self.width < TOGETHER {
            return;
        }
        pool.run(|worker| {
            let panels = share(self.panels, pool.threads(), worker);
            // Panels of two heights, the higher ones first.
            let higher = self.rows.len() % self.panels;
            for panels in [panels.start..panels.end.min(higher), panels.start.max(higher)..panels.end] {
                if !panels.is_empty() {
                    let start = self.panel_rows(panels.start);
                    let rows = start.start..self.panel_rows(panels.end - 1).end;
                    let cells = rows.start * self.width + panels.start * GAP
                        ..rows.end * self.width + panels.end * GAP;
                    // SAFETY: shares of the panels do not overlap.
                    self.pack(pool.level(), rows, start.len(), unsafe { self.cells.slice(cells) });
                    for state in &self.states[panels] {
                        state.store(READY, Ordering::Release);
                    }
                }
            }
        });
    }

    fn pack(&self, level: Level, rows: Range<usize>, width: usize, cells: &mut [u32]) {
        let packing = Packing {
            cell: self.cell,
            source: &self.source,
            lanes: self.rows.start + rows.start..self.rows.start + rows.end,
            depth: self.depth.clone(),
            width,
            steps: self.width,
            stride: width * self.width + GAP,
        };
        pack(level, &packing, cells);
    }

    /// The part of a that a panel is packed from.
    pub(super) fn ahead(&self, panel: usize, steps: usize) -> Ahead {
        let rows = self.panel_rows(panel);
        let lanes = self.rows.start + rows.start..self.rows.start + rows.end;
        Ahead::source(&self.source, &lanes, &self.depth, steps)
    }
}
