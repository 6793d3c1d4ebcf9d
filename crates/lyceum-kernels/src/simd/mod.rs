//! The SIMD layer of the row kernels: each kernel is written once over [`Lanes`] and compiled once per level.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod exp;
mod portable;

use std::ops::{Add, AddAssign, Div, Mul, Sub};

use half::bf16;

use crate::Level;

pub(crate) use exp::{erfc, exp, sigmoid, tanh};

/// A register of `N` f32 lanes.
///
/// All methods are `#[inline(always)]`, so that they become instructions of the level whose [`Kernel`] calls them. Values
/// of the wide types only come into being inside [`run`], which is what makes the intrinsics sound.
pub(crate) trait Lanes:
    Copy + Add<Output = Self> + Sub<Output = Self> + Mul<Output = Self> + Div<Output = Self> + AddAssign
{
    /// Lanes of a register: a multiple of 4.
    const N: usize;
    /// How many registers of accumulators fit beside a row of operands: the width of a product's tile.
    const TILE: usize;

    fn splat(x: f32) -> Self;
    /// The first `N` elements; lanes past the end of a shorter slice hold `fill`.
    fn load_or(x: &[f32], fill: f32) -> Self;
    /// As many lanes as fit in `out`.
    fn store(self, out: &mut [f32]);
    /// As [`Lanes::load`], widening.
    fn load_bf16(x: &[bf16]) -> Self;
    /// As [`Lanes::store`], rounding to nearest even.
    fn store_bf16(self, out: &mut [bf16]);
    /// `self * b + c`, in one rounding where the level has fused multiply-add.
    fn mul_add(self, b: Self, c: Self) -> Self;
    /// `b` where either is NaN.
    fn max(self, b: Self) -> Self;
    /// `b` where either is NaN.
    fn min(self, b: Self) -> Self;
    fn sqrt(self) -> Self;
    /// To the nearest integer, ties to even.
    fn round(self) -> Self;
    /// `self * 2^n` for integral n in -252..=254, rounded at most twice.
    fn scale_by_power(self, n: Self) -> Self;
    /// `yes` where `self < 0`, else `no`.
    fn where_negative(self, yes: Self, no: Self) -> Self;
    fn sum(self) -> f32;
    fn maximum(self) -> f32;
    /// The sum of each of four registers; every one is added up in the same order.
    fn sums(four: [Self; 4]) -> [f32; 4];

    /// Loads `N` elements.
    ///
    /// # Safety
    /// They can be read.
    unsafe fn read(x: *const f32) -> Self;
    /// Stores `N` elements.
    ///
    /// # Safety
    /// They can be written.
    unsafe fn write(self, out: *mut f32);

    /// The first `N` elements; lanes past the end of a shorter slice are 0.
    #[inline(always)]
    fn load(x: &[f32]) -> Self {
        Self::load_or(x, 0.0)
    }

    #[inline(always)]
    fn zero() -> Self {
        Self::splat(0.0)
    }
}

/// A piece of work that is compiled for every level.
pub(crate) trait Kernel {
    type Output;
    /// Must be `#[inline(always)]`, and so must be what it calls over `V`.
    fn run<V: Lanes>(self) -> Self::Output;
}

/// Runs `kernel` with the registers of `level`, which must not be above [`Level::detect`]: a [`crate::Pool`]'s never is.
pub(crate) fn run<K: Kernel>(level: Level, kernel: K) -> K::Output {
    match level {
        // SAFETY: the machine has the features of its level.
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 | Level::Avx512Bf16 => unsafe { avx512::run(kernel) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => unsafe { avx2::run(kernel) },
        _ => kernel.run::<portable::Portable>(),
    }
}

/// Brings `len` elements to the second-level cache some time before they are needed: rows of a head lie far apart, which the memory's own prediction does not
/// follow. Any address will do.
#[inline(always)]
pub(crate) fn prefetch<T>(start: *const T, len: usize) {
    #[cfg(target_arch = "x86_64")]
    for line in (0..len * size_of::<T>()).step_by(64) {
        use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        // SAFETY: a hint reads nothing.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(start.cast::<i8>().wrapping_add(line)) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (start, len);
}

/// The offsets `0, N, 2N, ...` below `len`.
#[inline(always)]
pub(crate) fn steps<V: Lanes>(len: usize) -> impl Iterator<Item = usize> {
    (0..len.div_ceil(V::N)).map(
        #[inline(always)]
        |step| step * V::N,
    )
}
