//! AVX-512 F, BW, VL and DQ: sixteen lanes, masked edges.

use std::arch::x86_64::*;
use std::ops::{Add, AddAssign, Div, Mul, Sub};

use half::bf16;

use super::{Kernel, Lanes};

#[derive(Clone, Copy)]
pub(crate) struct Avx512(__m512);

/// Compiles `kernel` with AVX-512.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx2,fma")]
pub(super) fn run<K: Kernel>(kernel: K) -> K::Output {
    kernel.run::<Avx512>()
}

/// An intrinsic on registers.
macro_rules! op {
    ($($intrinsic:tt)*) => {
        // SAFETY: an `Avx512` is only made inside `run`, hence on a machine that has the features.
        unsafe { $($intrinsic)* }
    };
}

/// The mask of the first `len < 16` lanes.
#[inline(always)]
fn first(len: usize) -> u16 {
    ((1u32 << len) - 1) as u16
}

impl Add for Avx512 {
    type Output = Self;
    #[inline(always)]
    fn add(self, b: Self) -> Self {
        Self(op!(_mm512_add_ps(self.0, b.0)))
    }
}

impl AddAssign for Avx512 {
    #[inline(always)]
    fn add_assign(&mut self, b: Self) {
        *self = *self + b;
    }
}

impl Sub for Avx512 {
    type Output = Self;
    #[inline(always)]
    fn sub(self, b: Self) -> Self {
        Self(op!(_mm512_sub_ps(self.0, b.0)))
    }
}

impl Mul for Avx512 {
    type Output = Self;
    #[inline(always)]
    fn mul(self, b: Self) -> Self {
        Self(op!(_mm512_mul_ps(self.0, b.0)))
    }
}

impl Div for Avx512 {
    type Output = Self;
    #[inline(always)]
    fn div(self, b: Self) -> Self {
        Self(op!(_mm512_div_ps(self.0, b.0)))
    }
}

impl Lanes for Avx512 {
    const N: usize = 16;
    const TILE: usize = 4;

    #[inline(always)]
    fn splat(x: f32) -> Self {
        Self(op!(_mm512_set1_ps(x)))
    }

    #[inline(always)]
    fn load_or(x: &[f32], fill: f32) -> Self {
        if x.len() >= 16 {
            // SAFETY: sixteen elements are there.
            Self(unsafe { _mm512_loadu_ps(x.as_ptr()) })
        } else {
            // SAFETY: the mask keeps to the elements of `x`.
            Self(unsafe { _mm512_mask_loadu_ps(_mm512_set1_ps(fill), first(x.len()), x.as_ptr()) })
        }
    }

    #[inline(always)]
    fn store(self, out: &mut [f32]) {
        if out.len() >= 16 {
            // SAFETY: sixteen elements are there.
            unsafe { _mm512_storeu_ps(out.as_mut_ptr(), self.0) }
        } else {
            // SAFETY: the mask keeps to the elements of `out`.
            unsafe { _mm512_mask_storeu_ps(out.as_mut_ptr(), first(out.len()), self.0) }
        }
    }

    #[inline(always)]
    fn load_bf16(x: &[bf16]) -> Self {
        let bits = if x.len() >= 16 {
            // SAFETY: sixteen elements are there.
            unsafe { _mm256_loadu_epi16(x.as_ptr().cast()) }
        } else {
            // SAFETY: the mask keeps to the elements of `x`.
            unsafe { _mm256_maskz_loadu_epi16(first(x.len()), x.as_ptr().cast()) }
        };
        Self(op!(_mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(bits)))))
    }

    #[inline(always)]
    fn store_bf16(self, out: &mut [bf16]) {
        let rounded = op!({
            let bits = _mm512_castps_si512(self.0);
            let odd = _mm512_and_si512(_mm512_srli_epi32::<16>(bits), _mm512_set1_epi32(1));
            let nearest = _mm512_add_epi32(_mm512_add_epi32(bits, _mm512_set1_epi32(0x7fff)), odd);
            let quiet = _mm512_or_si512(bits, _mm512_set1_epi32(0x40_0000));
            let nan = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(self.0, self.0);
            _mm512_cvtepi32_epi16(_mm512_srli_epi32::<16>(_mm512_mask_blend_epi32(nan, nearest, quiet)))
        });
        if out.len() >= 16 {
            // SAFETY: sixteen elements are there.
            unsafe { _mm256_storeu_epi16(out.as_mut_ptr().cast(), rounded) }
        } else {
            // SAFETY: the mask keeps to the elements of `out`.
            unsafe { _mm256_mask_storeu_epi16(out.as_mut_ptr().cast(), first(out.len()), rounded) }
        }
    }

    #[inline(always)]
    fn mul_add(self, b: Self, c: Self) -> Self {
        Self(op!(_mm512_fmadd_ps(self.0, b.0, c.0)))
    }

    #[inline(always)]
    fn max(self, b: Self) -> Self {
        Self(op!(_mm512_max_ps(self.0, b.0)))
    }

    #[inline(always)]
    fn min(self, b: Self) -> Self {
        Self(op!(_mm512_min_ps(self.0, b.0)))
    }

    #[inline(always)]
    fn sqrt(self) -> Self {
        Self(op!(_mm512_sqrt_ps(self.0)))
    }

    #[inline(always)]
    fn round(self) -> Self {
        Self(op!(_mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(self.0)))
    }

    #[inline(always)]
    fn scale_by_power(self, n: Self) -> Self {
        Self(op!(_mm512_scalef_ps(self.0, n.0)))
    }

    #[inline(always)]
    fn where_negative(self, yes: Self, no: Self) -> Self {
        Self(op!(_mm512_mask_blend_ps(
            _mm512_cmp_ps_mask::<_CMP_LT_OQ>(self.0, _mm512_setzero_ps()),
            no.0,
            yes.0
        )))
    }

    #[inline(always)]
    fn sum(self) -> f32 {
        op!(_mm512_reduce_add_ps(self.0))
    }

    #[inline(always)]
    fn maximum(self) -> f32 {
        op!(_mm512_reduce_max_ps(self.0))
    }

    #[inline(always)]
    fn sums(four: [Self; 4]) -> [f32; 4] {
        let [Self(a), Self(b), Self(c), Self(d)] = four;
        op!({
            // Transposing additions inside of the 128-bit quarters, then of the quarters: all four in the same order.
            let ab = _mm512_add_ps(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
            let cd = _mm512_add_ps(_mm512_unpacklo_ps(c, d), _mm512_unpackhi_ps(c, d));
            let even = _mm512_shuffle_ps::<0b01_00_01_00>(ab, cd);
            let odd = _mm512_shuffle_ps::<0b11_10_11_10>(ab, cd);
            let quarters = _mm512_add_ps(even, odd);
            let halves =
                _mm256_add_ps(_mm512_castps512_ps256(quarters), _mm512_extractf32x8_ps::<1>(quarters));
            let sums = _mm_add_ps(_mm256_castps256_ps128(halves), _mm256_extractf128_ps::<1>(halves));
            std::mem::transmute::<__m128, [f32; 4]>(sums)
        })
    }

    #[inline(always)]
    unsafe fn read(x: *const f32) -> Self {
        // SAFETY: by this function's contract.
        Self(unsafe { _mm512_loadu_ps(x) })
    }

    #[inline(always)]
    unsafe fn write(self, out: *mut f32) {
        // SAFETY: by this function's contract.
        unsafe { _mm512_storeu_ps(out, self.0) }
    }
}
