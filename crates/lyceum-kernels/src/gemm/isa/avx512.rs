use std::arch::x86_64::*;
use std::mem::transmute;

use super::{Isa, Operands, Pairs};

/// AVX-512, with or without the dot product of bf16 pairs.
pub(in crate::gemm) struct Avx512;

/// The mask of the first `count` lanes, or all.
#[inline(always)]
fn first(count: usize) -> __mmask16 {
    if count >= 16 { !0 } else { (1 << count) - 1 }
}

impl Isa for Avx512 {
    type Vector = __m512;
    const LANES: usize = 16;
    const ROWS: usize = 12;

    #[inline(always)]
    unsafe fn zero() -> __m512 {
        // SAFETY: by the trait's contract, as below.
        unsafe { _mm512_setzero_ps() }
    }

    #[inline(always)]
    unsafe fn load(from: *const f32, count: usize) -> __m512 {
        // SAFETY: the mask keeps to the `count` floats the caller vouches for.
        unsafe { _mm512_maskz_loadu_ps(first(count), from) }
    }

    #[inline(always)]
    unsafe fn store(sums: __m512, to: *mut f32, count: usize) {
        // SAFETY: the mask keeps to the `count` floats the caller vouches for.
        unsafe { _mm512_mask_storeu_ps(to, first(count), sums) }
    }

    #[inline(always)]
    unsafe fn splat(from: *const f32) -> __m512 {
        // SAFETY: the caller vouches for the float.
        unsafe { _mm512_set1_ps(*from) }
    }

    #[inline(always)]
    unsafe fn floats(from: *const f32) -> __m512 {
        // SAFETY: the caller vouches for 16 floats.
        unsafe { _mm512_loadu_ps(from) }
    }

    #[inline(always)]
    unsafe fn halves(from: *const u32, part: usize) -> __m512 {
        // SAFETY: the caller vouches for 16 pairs.
        unsafe {
            let pairs = _mm512_loadu_si512(from.cast());
            _mm512_castsi512_ps(if part == 0 {
                _mm512_slli_epi32::<16>(pairs)
            } else {
                _mm512_and_si512(pairs, _mm512_set1_epi32(0xffff_0000_u32 as i32))
            })
        }
    }

    #[inline(always)]
    unsafe fn add(a: __m512, b: __m512) -> __m512 {
        // SAFETY: by the trait's contract.
        unsafe { _mm512_add_ps(a, b) }
    }

    #[inline(always)]
    unsafe fn multiply_add(a: __m512, b: __m512, sums: __m512) -> __m512 {
        // SAFETY: by the trait's contract.
        unsafe { _mm512_fmadd_ps(a, b, sums) }
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

impl Operands<Avx512> for Pairs {
    const PARTS: usize = 1;

    #[inline(always)]
    unsafe fn right(cells: *const u32, _: usize) -> __m512 {
        // SAFETY: the caller vouches for 16 cells.
        unsafe { _mm512_loadu_ps(cells.cast()) }
    }

    #[inline(always)]
    unsafe fn multiply_add(a: __m512, b: __m512, sums: __m512) -> __m512 {
        // SAFETY: by the trait's contract; 16 pairs are as wide as 16 floats.
        unsafe { _mm512_dpbf16_ps(sums, transmute::<__m512, __m512bh>(a), transmute::<__m512, __m512bh>(b)) }
    }
}
