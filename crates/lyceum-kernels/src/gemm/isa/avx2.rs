use std::arch::x86_64::*;

use super::Isa;

/// AVX2 and FMA.
pub(in crate::gemm) struct Avx2;

impl Isa for Avx2 {
    type Vector = __m256;
    const LANES: usize = 8;
    const ROWS: usize = 6;

    #[inline(always)]
    unsafe fn zero() -> __m256 {
        // SAFETY: by the trait's contract, as below.
        unsafe { _mm256_setzero_ps() }
    }

    #[inline(always)]
    unsafe fn load(from: *const f32, count: usize) -> __m256 {
        let mut lanes = [0.0_f32; 8];
        // SAFETY: the caller vouches for `count` floats, and no more than 8 are copied.
        unsafe {
            if count >= 8 {
                return _mm256_loadu_ps(from);
            }
            from.copy_to_nonoverlapping(lanes.as_mut_ptr(), count);
            _mm256_loadu_ps(lanes.as_ptr())
        }
    }

    #[inline(always)]
    unsafe fn store(sums: __m256, to: *mut f32, count: usize) {
        let mut lanes = [0.0_f32; 8];
        // SAFETY: the caller vouches for `count` floats, and no more than 8 are copied.
        unsafe {
            if count >= 8 {
                return _mm256_storeu_ps(to, sums);
            }
            _mm256_storeu_ps(lanes.as_mut_ptr(), sums);
            lanes.as_ptr().copy_to_nonoverlapping(to, count);
        }
    }

    #[inline(always)]
    unsafe fn splat(from: *const f32) -> __m256 {
        // SAFETY: the caller vouches for the float.
        unsafe { _mm256_broadcast_ss(&*from) }
    }

    #[inline(always)]
    unsafe fn floats(from: *const f32) -> __m256 {
        // SAFETY: the caller vouches for 8 floats.
        unsafe { _mm256_loadu_ps(from) }
    }

    #[inline(always)]
    unsafe fn halves(from: *const u32, part: usize) -> __m256 {
        // SAFETY: the caller vouches for 8 pairs.
        unsafe {
            let pairs = _mm256_loadu_si256(from.cast());
            _mm256_castsi256_ps(if part == 0 {
                _mm256_slli_epi32::<16>(pairs)
            } else {
                _mm256_and_si256(pairs, _mm256_set1_epi32(0xffff_0000_u32 as i32))
            })
        }
    }

    #[inline(always)]
    unsafe fn add(a: __m256, b: __m256) -> __m256 {
        // SAFETY: by the trait's contract.
        unsafe { _mm256_add_ps(a, b) }
    }

    #[inline(always)]
    unsafe fn multiply_add(a: __m256, b: __m256, sums: __m256) -> __m256 {
        // SAFETY: by the trait's contract.
        unsafe { _mm256_fmadd_ps(a, b, sums) }
    }

    #[inline(always)]
    unsafe fn prefetch(address: *const u8) {
        // SAFETY: prefetching has no effect on memory, and none at all where there is none.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) }
    }

    #[inline(always)]
    unsafe fn prefetch_far(address: *const u8) {
        // SAFETY: as above.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(address.cast()) }
    }
}
