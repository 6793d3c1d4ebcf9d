//! The micro-kernel: a tile of c is summed in registers over a panel of a and one of b.

#[cfg(target_arch = "x86_64")]
use super::isa::{Avx2, Avx512, Pairs};
use super::isa::{Floats, Isa, Operands, Portable, Widening};
use crate::Level;

/// Bytes of a line of cache.
const CACHE_LINE: usize = 64;
/// Columns of a panel of b.
pub(super) const PANEL: usize = 32;

/// What one call of the micro-kernel works on. A panel is a matrix of cells of four bytes, one row a step of the sum:
/// an f32, or two bf16 that follow each other along k, the first in the lower half.
#[derive(Clone, Copy)]
pub(super) struct Tile {
    /// Steps of the sum.
    pub steps: usize,
    /// A panel of as many columns as the tile has rows.
    pub a: *const u32,
    /// A panel of [`PANEL`] columns, or its second half.
    pub b: *const u32,
    pub c: *mut f32,
    pub c_stride: usize,
    /// Columns of c that exist from `c` on; those of the tile beyond are computed but not stored.
    pub cols: usize,
    /// Add the sums to c: they are complete by then, so that one large element of c does not coarsen them.
    pub accumulate: bool,
    /// The next tile's place in c.
    pub c_ahead: *const f32,
    /// What to bring near meanwhile: two cache lines from here on in the first step, `ahead_step` bytes further in each
    /// following one. Any address will do.
    pub ahead: *const u8,
    pub ahead_step: usize,
}

/// What a step of the sum multiplies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Floats by floats.
    Floats,
    /// Two floats by a pair of bf16.
    Widening,
    /// Pairs of bf16 by pairs.
    Pairs,
}

/// The micro-kernel for one shape of tile.
///
/// # Safety
/// The machine has the level it was picked for; the panels and c have the elements that the tile promises.
pub(super) type Kernel = unsafe fn(&Tile);

/// Rows of the highest tile at a level.
pub(super) fn highest(level: Level) -> usize {
    match level {
        #[cfg(target_arch = "x86_64")]
        Level::Avx512Bf16 | Level::Avx512 => Avx512::ROWS,
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => Avx2::ROWS,
        _ => Portable::ROWS,
    }
}

/// The kernel of tiles of `rows` rows and its width in columns: a panel, or half of one where the sums of a panel would
/// not stay in registers.
///
/// # Panics
/// If there is no such kernel: too many rows, or pairs below their level.
pub(super) fn pick(level: Level, kind: Kind, rows: usize) -> (Kernel, usize) {
    macro_rules! shapes {
        ($function:ident, $isa:ty, $operands:ty; $($rows:literal: $vectors:literal),+) => {
            match rows {
                $($rows => return ($function::<$operands, $rows, $vectors>, $vectors * <$isa>::LANES),)+
                _ => {}
            }
        };
    }
    macro_rules! avx512 {
        ($function:ident, $operands:ty) => {
            shapes!($function, Avx512, $operands;
                    1: 2, 2: 2, 3: 2, 4: 2, 5: 2, 6: 2, 7: 2, 8: 2, 9: 2, 10: 2, 11: 2, 12: 2)
        };
    }
    macro_rules! avx2 {
        ($operands:ty) => { shapes!(avx2, Avx2, $operands; 1: 4, 2: 4, 3: 4, 4: 2, 5: 2, 6: 2) };
    }
    macro_rules! portable {
        ($operands:ty) => { shapes!(portable, Portable, $operands; 1: 2, 2: 2) };
    }
    match (level, kind) {
        #[cfg(target_arch = "x86_64")]
        (Level::Avx512Bf16, Kind::Pairs) => avx512!(avx512bf16, Pairs),
        #[cfg(target_arch = "x86_64")]
        (Level::Avx512Bf16 | Level::Avx512, Kind::Floats) => avx512!(avx512, Floats),
        #[cfg(target_arch = "x86_64")]
        (Level::Avx512Bf16 | Level::Avx512, Kind::Widening) => avx512!(avx512, Widening),
        #[cfg(target_arch = "x86_64")]
        (Level::Avx2, Kind::Floats) => avx2!(Floats),
        #[cfg(target_arch = "x86_64")]
        (Level::Avx2, Kind::Widening) => avx2!(Widening),
        (_, Kind::Floats) => portable!(Floats),
        (_, Kind::Widening) => portable!(Widening),
        (_, Kind::Pairs) => {}
    }
    unreachable!("no kernel of {rows} rows for {kind:?} at level {level}")
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,avx2,fma")]
unsafe fn avx512bf16<O: Operands<Avx512>, const R: usize, const V: usize>(tile: &Tile) {
    // SAFETY: compiled for the level; the rest is passed on.
    unsafe { sum::<Avx512, O, R, V>(tile) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx2,fma")]
unsafe fn avx512<O: Operands<Avx512>, const R: usize, const V: usize>(tile: &Tile) {
    // SAFETY: as above.
    unsafe { sum::<Avx512, O, R, V>(tile) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn avx2<O: Operands<Avx2>, const R: usize, const V: usize>(tile: &Tile) {
    // SAFETY: as above.
    unsafe { sum::<Avx2, O, R, V>(tile) }
}

unsafe fn portable<O: Operands<Portable>, const R: usize, const V: usize>(tile: &Tile) {
    // SAFETY: as above.
    unsafe { sum::<Portable, O, R, V>(tile) }
}

/// Sums a tile of `R` rows and `V` vectors of columns.
///
/// Every element is summed step after step, alone in its lane: its value does not depend on the tile's shape.
#[inline(always)]
#[expect(clippy::needless_range_loop, reason = "rows and vectors index a, b, c and the sums alike")]
unsafe fn sum<I: Isa, O: Operands<I>, const R: usize, const V: usize>(tile: &Tile) {
    let Tile { steps, mut a, mut b, c, c_stride, cols, accumulate, .. } = *tile;
    let mut ahead = tile.ahead;
    // SAFETY: by the contracts of `Kernel` and `Isa`; columns beyond `cols` are not accessed.
    unsafe {
        let mut sums = [[I::zero(); V]; R];
        for r in 0..R {
            I::prefetch(tile.c_ahead.wrapping_add(r * c_stride).cast());
            I::prefetch(tile.c_ahead.wrapping_add(r * c_stride + 16).cast());
        }
        for _ in 0..steps {
            if tile.ahead_step > CACHE_LINE {
                I::prefetch(ahead);
                I::prefetch(ahead.wrapping_add(CACHE_LINE));
            } else {
                I::prefetch_far(ahead);
            }
            ahead = ahead.wrapping_add(tile.ahead_step);
            for part in 0..O::PARTS {
                let mut right = [I::zero(); V];
                for v in 0..V {
                    right[v] = O::right(b.add(v * I::LANES), part);
                }
                for r in 0..R {
                    let left = I::splat(a.add(part * R + r).cast());
                    for v in 0..V {
                        sums[r][v] = O::multiply_add(left, right[v], sums[r][v]);
                    }
                }
            }
            a = a.add(O::PARTS * R);
            b = b.add(PANEL);
        }
        finish::<I, R, V>(sums, c, c_stride, cols, accumulate);
    }
}

/// Writes a tile's sums to c, or adds them to it with `accumulate`; columns beyond `cols` are not accessed.
///
/// # Safety
/// As for [`Isa`]; c has the tile's rows, `c_stride` apart, and their columns up to `cols`.
#[inline(always)]
pub(super) unsafe fn finish<I: Isa, const R: usize, const V: usize>(
    sums: [[I::Vector; V]; R],
    c: *mut f32,
    c_stride: usize,
    cols: usize,
    accumulate: bool,
) {
    // SAFETY: passed on.
    unsafe {
        for (r, row) in sums.into_iter().enumerate() {
            for (v, sum) in row.into_iter().enumerate() {
                let first = v * I::LANES;
                let (c, count) = (c.wrapping_add(r * c_stride + first), cols.saturating_sub(first));
                I::store(if accumulate { I::add(I::load(c, count), sum) } else { sum }, c, count);
            }
        }
    }
}
