//! AVX2 and FMA: eight lanes, masked edges.

use std::arch::x86_64::*;
use std::ops::{Add, AddAssign, Div, Mul, Sub};

use half::bf16;

use super::{Kernel, Lanes};

#[derive(Clone, Copy)]
pub(crate) struct Avx2(__m256);

/// Compiles `kernel` with AVX2 and FMA.
#[target_feature(enable = "avx2,fma")]
pub(super) fn run<K: Kernel>(kernel: K) -> K::Output {
    kernel.run::<Avx2>()
}

/// An intrinsic on registers.
macro_rules! op {
    ($($intrinsic:tt)*) => {
        // SAFETY: an `Avx2` is only made inside `run`, hence on a machine that has the features.
        unsafe { $($intrinsic)* }
    };
}

impl Add for Avx2 {
    type Output = Self;
    #[inline(always)]
    fn add(self, b: Self) -> Self {
        Self(op!(_mm256_add_ps(self.0, b.0)))
    }
}

impl AddAssign for Avx2 {
    #[inline(always)]
    fn add_assign(&mut self, b: Self) {
        *self = *self + b;
    }
}

impl Sub for Avx2 {
    type Output = Self;
    #[inline(always)]
    fn sub(self, b: Self) -> Self {
        Self(op!(_mm256_sub_ps(self.0, b.0)))
    }
}

impl Mul for Avx2 {
    type Output = Self;
    #[inline(always)]
    fn mul(self, b: Self) -> Self {
        Self(op!(_mm256_mul_ps(self.0, b.0)))
    }
}

impl Div for Avx2 {
    type Output = Self;
    #[inline(always)]
    fn div(self, b: Self) -> Self {
        Self(op!(_mm256_div_ps(self.0, b.0)))
    }
}

/// The mask of the first `len` lanes.
#[inline(always)]
fn first(len: usize) -> __m256i {
    op!(_mm256_cmpgt_epi32(_mm256_set1_epi32(len as i32), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7)))
}

/// Fewer than eight elements, then zeros. No call, which would cost a loop its registers: pairs by mask, then the last element.
#[inline(always)]
fn part(x: &[bf16]) -> __m128i {
    let Some(last) = x.last() else { return op!(_mm_setzero_si128()) };
    op!({
        let pairs = _mm_cmpgt_epi32(_mm_set1_epi32((x.len() / 2) as i32), _mm_setr_epi32(0, 1, 2, 3));
        // The mask keeps to the elements of `x`.
        let elements = _mm_maskload_epi32(x.as_ptr().cast(), pairs);
        let index = _mm_setr_epi16(0, 1, 2, 3, 4, 5, 6, 7);
        let is_last = _mm_cmpeq_epi16(index, _mm_set1_epi16(x.len() as i16 - 1));
        _mm_blendv_epi8(elements, _mm_set1_epi16(last.to_bits() as i16), is_last)
    })
}

/// The bits of each lane's nearest bf16, ties to even, in the low half of the lane; NaN stays NaN.
#[inline(always)]
fn nearest_bf16(x: __m256) -> __m256i {
    op!({
        let bits = _mm256_castps_si256(x);
        let odd = _mm256_and_si256(_mm256_srli_epi32::<16>(bits), _mm256_set1_epi32(1));
        let nearest = _mm256_add_epi32(_mm256_add_epi32(bits, _mm256_set1_epi32(0x7fff)), odd);
        let quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x40_0000));
        let nan = _mm256_castps_si256(_mm256_cmp_ps::<_CMP_UNORD_Q>(x, x));
        _mm256_srli_epi32::<16>(_mm256_blendv_epi8(nearest, quiet, nan))
    })
}

impl Lanes for Avx2 {
    const N: usize = 8;
    const TILE: usize = 2;

    #[inline(always)]
    fn splat(x: f32) -> Self {
        Self(op!(_mm256_set1_ps(x)))
    }

    #[inline(always)]
    fn load_or(x: &[f32], fill: f32) -> Self {
        if x.len() >= 8 {
            // SAFETY: eight elements are there.
            Self(unsafe { _mm256_loadu_ps(x.as_ptr()) })
        } else {
            let mask = first(x.len());
            // SAFETY: the mask keeps to the elements of `x`.
            let part = unsafe { _mm256_maskload_ps(x.as_ptr(), mask) };
            Self(op!(_mm256_blendv_ps(_mm256_set1_ps(fill), part, _mm256_castsi256_ps(mask))))
        }
    }

    #[inline(always)]
    fn store(self, out: &mut [f32]) {
        if out.len() >= 8 {
            // SAFETY: eight elements are there.
            unsafe { _mm256_storeu_ps(out.as_mut_ptr(), self.0) }
        } else {
            // SAFETY: the mask keeps to the elements of `out`.
            unsafe { _mm256_maskstore_ps(out.as_mut_ptr(), first(out.len()), self.0) }
        }
    }

    #[inline(always)]
    fn load_bf16(x: &[bf16]) -> Self {
        let bits = if x.len() >= 8 {
            // SAFETY: eight elements are there.
            unsafe { _mm_loadu_si128(x.as_ptr().cast()) }
        } else {
            part(x)
        };
        Self(op!(_mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(bits)))))
    }

    #[inline(always)]
    fn store_bf16(self, out: &mut [bf16]) {
        let rounded = nearest_bf16(self.0);
        if out.len() >= 8 {
            let (low, high) = op!((_mm256_castsi256_si128(rounded), _mm256_extracti128_si256::<1>(rounded)));
            // SAFETY: eight elements are there.
            unsafe { _mm_storeu_si128(out.as_mut_ptr().cast(), _mm_packus_epi32(low, high)) }
        } else {
            let full = op!(std::mem::transmute::<__m256i, [u32; 8]>(rounded));
            for (out, bits) in out.iter_mut().zip(full) {
                *out = bf16::from_bits(bits as u16);
            }
        }
    }

    #[inline(always)]
    fn mul_add(self, b: Self, c: Self) -> Self {
        Self(op!(_mm256_fmadd_ps(self.0, b.0, c.0)))
    }

    #[inline(always)]
    fn max(self, b: Self) -> Self {
        Self(op!(_mm256_max_ps(self.0, b.0)))
    }

    #[inline(always)]
    fn min(self, b: Self) -> Self {
        Self(op!(_mm256_min_ps(self.0, b.0)))
    }

    #[inline(always)]
    fn sqrt(self) -> Self {
        Self(op!(_mm256_sqrt_ps(self.0)))
    }

    #[inline(always)]
    fn round(self) -> Self {
        Self(op!(_mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(self.0)))
    }

    #[inline(always)]
    fn scale_by_power(self, n: Self) -> Self {
        // In two steps, as 2^n alone may lie outside of the range of normal numbers.
        op!({
            let n = _mm256_cvtps_epi32(n.0);
            let half = _mm256_srai_epi32::<1>(n);
            let bias = _mm256_set1_epi32(127);
            let low = _mm256_slli_epi32::<23>(_mm256_add_epi32(half, bias));
            let high = _mm256_slli_epi32::<23>(_mm256_add_epi32(_mm256_sub_epi32(n, half), bias));
            Self(_mm256_mul_ps(_mm256_mul_ps(self.0, _mm256_castsi256_ps(low)), _mm256_castsi256_ps(high)))
        })
    }

    #[inline(always)]
    fn where_negative(self, yes: Self, no: Self) -> Self {
        Self(op!(_mm256_blendv_ps(no.0, yes.0, _mm256_cmp_ps::<_CMP_LT_OQ>(self.0, _mm256_setzero_ps()))))
    }

    #[inline(always)]
    fn sum(self) -> f32 {
        op!({
            let quarter = _mm_add_ps(_mm256_castps256_ps128(self.0), _mm256_extractf128_ps::<1>(self.0));
            let pair = _mm_add_ps(quarter, _mm_movehl_ps(quarter, quarter));
            _mm_cvtss_f32(_mm_add_ss(pair, _mm_movehdup_ps(pair)))
        })
    }

    #[inline(always)]
    fn maximum(self) -> f32 {
        op!({
            let quarter = _mm_max_ps(_mm256_castps256_ps128(self.0), _mm256_extractf128_ps::<1>(self.0));
            let pair = _mm_max_ps(quarter, _mm_movehl_ps(quarter, quarter));
            _mm_cvtss_f32(_mm_max_ss(pair, _mm_movehdup_ps(pair)))
        })
    }

    #[inline(always)]
    fn sums(four: [Self; 4]) -> [f32; 4] {
        let [a, b, c, d] = four;
        op!({
            // Pairs within the 128-bit halves, then the halves: a transposing addition.
            let quads = _mm256_hadd_ps(_mm256_hadd_ps(a.0, b.0), _mm256_hadd_ps(c.0, d.0));
            let sums = _mm_add_ps(_mm256_castps256_ps128(quads), _mm256_extractf128_ps::<1>(quads));
            std::mem::transmute::<__m128, [f32; 4]>(sums)
        })
    }

    #[inline(always)]
    unsafe fn read(x: *const f32) -> Self {
        // SAFETY: by this function's contract.
        Self(unsafe { _mm256_loadu_ps(x) })
    }

    #[inline(always)]
    unsafe fn write(self, out: *mut f32) {
        // SAFETY: by this function's contract.
        unsafe { _mm256_storeu_ps(out, self.0) }
    }
}
