use std::array::from_fn;

use super::Isa;

/// Plain Rust, on arrays.
pub(in crate::gemm) struct Portable;

const LANES: usize = 16;

impl Isa for Portable {
    type Vector = [f32; LANES];
    const LANES: usize = LANES;
    const ROWS: usize = 2;

    #[inline(always)]
    unsafe fn zero() -> Self::Vector {
        [0.0; LANES]
    }

    #[inline(always)]
    unsafe fn load(from: *const f32, count: usize) -> Self::Vector {
        // SAFETY: the caller vouches for `count` floats.
        from_fn(|lane| if lane < count { unsafe { *from.add(lane) } } else { 0.0 })
    }

    #[inline(always)]
    unsafe fn store(sums: Self::Vector, to: *mut f32, count: usize) {
        for (lane, sum) in sums.into_iter().enumerate().take(count) {
            // SAFETY: the caller vouches for `count` floats.
            unsafe { *to.add(lane) = sum };
        }
    }

    #[inline(always)]
    unsafe fn splat(from: *const f32) -> Self::Vector {
        // SAFETY: the caller vouches for the float.
        [unsafe { *from }; LANES]
    }

    #[inline(always)]
    unsafe fn floats(from: *const f32) -> Self::Vector {
        // SAFETY: the caller vouches for a vector of floats.
        unsafe { from.cast::<Self::Vector>().read_unaligned() }
    }

    #[inline(always)]
    unsafe fn halves(from: *const u32, part: usize) -> Self::Vector {
        // SAFETY: the caller vouches for a vector of pairs.
        from_fn(|lane| f32::from_bits(unsafe { *from.add(lane) } >> (16 * part) << 16))
    }

    #[inline(always)]
    unsafe fn add(a: Self::Vector, b: Self::Vector) -> Self::Vector {
        from_fn(|lane| a[lane] + b[lane])
    }

    #[inline(always)]
    unsafe fn multiply_add(a: Self::Vector, b: Self::Vector, sums: Self::Vector) -> Self::Vector {
        from_fn(|lane| a[lane] * b[lane] + sums[lane])
    }

    #[inline(always)]
    unsafe fn prefetch(_: *const u8) {}

    #[inline(always)]
    unsafe fn prefetch_far(_: *const u8) {}
}
