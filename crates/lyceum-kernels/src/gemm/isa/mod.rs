//! The instructions that products are made of, per level.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod portable;

#[cfg(target_arch = "x86_64")]
pub(super) use self::{avx2::Avx2, avx512::Avx512};
pub(super) use portable::Portable;

/// Vector instructions of a level, for the micro-kernel.
///
/// # Safety
/// All methods are `#[inline(always)]` and become instructions of the level: they may only be called, directly or not,
/// from a function compiled for it and on a machine that has it. Pointers must be good for the elements named.
pub(super) trait Isa {
    /// [`Self::LANES`] sums or operands.
    type Vector: Copy;
    /// Columns of c that a vector covers.
    const LANES: usize;
    /// Rows of the highest tile whose sums stay in registers, two vectors wide.
    const ROWS: usize;

    unsafe fn zero() -> Self::Vector;
    /// The first `count` floats from `from` on, or all lanes if that is more; zeros in the other lanes.
    unsafe fn load(from: *const f32, count: usize) -> Self::Vector;
    /// Stores the first `count` lanes, or all if that is more.
    unsafe fn store(sums: Self::Vector, to: *mut f32, count: usize);
    /// One float in all lanes.
    unsafe fn splat(from: *const f32) -> Self::Vector;
    /// A vector of floats.
    unsafe fn floats(from: *const f32) -> Self::Vector;
    /// The lower (`part` 0) or upper (1) bf16 of each pair, as f32.
    unsafe fn halves(from: *const u32, part: usize) -> Self::Vector;
    /// `a + b`.
    unsafe fn add(a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// `a * b + sums`.
    unsafe fn multiply_add(a: Self::Vector, b: Self::Vector, sums: Self::Vector) -> Self::Vector;
    /// Brings the cache line of an address to the first-level cache; the address need not exist.
    unsafe fn prefetch(address: *const u8);
    /// As [`Isa::prefetch`], to the second-level cache.
    unsafe fn prefetch_far(address: *const u8);
}

/// How cells of a meet cells of b.
///
/// # Safety
/// As for [`Isa`].
pub(super) trait Operands<I: Isa> {
    /// Parts of a step: 2 where single numbers of a meet pairs of b.
    const PARTS: usize;
    /// Cells of b as operands of a part of the step.
    unsafe fn right(cells: *const u32, part: usize) -> I::Vector;
    unsafe fn multiply_add(a: I::Vector, b: I::Vector, sums: I::Vector) -> I::Vector;
}

/// f32 by f32.
pub(super) struct Floats;
/// f32 by pairs of bf16, widened on the way.
pub(super) struct Widening;
/// Pairs by pairs of bf16.
#[cfg(target_arch = "x86_64")]
pub(super) struct Pairs;

impl<I: Isa> Operands<I> for Floats {
    const PARTS: usize = 1;

    #[inline(always)]
    unsafe fn right(cells: *const u32, _: usize) -> I::Vector {
        // SAFETY: passed on.
        unsafe { I::floats(cells.cast()) }
    }

    #[inline(always)]
    unsafe fn multiply_add(a: I::Vector, b: I::Vector, sums: I::Vector) -> I::Vector {
        // SAFETY: passed on.
        unsafe { I::multiply_add(a, b, sums) }
    }
}

impl<I: Isa> Operands<I> for Widening {
    const PARTS: usize = 2;

    #[inline(always)]
    unsafe fn right(cells: *const u32, part: usize) -> I::Vector {
        // SAFETY: passed on.
        unsafe { I::halves(cells, part) }
    }

    #[inline(always)]
    unsafe fn multiply_add(a: I::Vector, b: I::Vector, sums: I::Vector) -> I::Vector {
        // SAFETY: passed on.
        unsafe { I::multiply_add(a, b, sums) }
    }
}
