//! Lines of sixteen cells: the registers through which operands are converted and transposed while they are packed.

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;
use std::array::from_fn;
#[cfg(target_arch = "x86_64")]
use std::mem::transmute;

use half::bf16;

/// Cells of a line.
pub(super) const LINE: usize = 16;

/// Numbers that operands are made of.
pub(super) trait Number: Copy + Sync {
    /// `count` (at most 16) numbers as f32 cells, zeros after them.
    ///
    /// # Safety
    /// As for [`Lines`].
    unsafe fn load<L: Lines>(from: *const Self, count: usize) -> L::Line;
}

impl Number for f32 {
    #[inline(always)]
    unsafe fn load<L: Lines>(from: *const f32, count: usize) -> L::Line {
        // SAFETY: passed on.
        unsafe { L::load_f32(from, count) }
    }
}

impl Number for bf16 {
    #[inline(always)]
    unsafe fn load<L: Lines>(from: *const bf16, count: usize) -> L::Line {
        // SAFETY: passed on.
        unsafe { L::load_bf16(from, count) }
    }
}

/// Operations on lines at a level.
///
/// # Safety
/// All methods are `#[inline(always)]` and become instructions of the level: they may only be called, directly or not,
/// from a function compiled for it and on a machine that has it. Pointers must be good for `count` elements.
pub(super) trait Lines {
    type Line: Copy;

    unsafe fn zero() -> Self::Line;
    unsafe fn load_f32(from: *const f32, count: usize) -> Self::Line;
    unsafe fn load_bf16(from: *const bf16, count: usize) -> Self::Line;
    /// Cells as they are.
    unsafe fn load(from: *const u32, count: usize) -> Self::Line;
    unsafe fn store(line: Self::Line, to: *mut u32, count: usize);
    /// Each f32 rounded to a number that bf16 has.
    unsafe fn round(line: Self::Line) -> Self::Line;
    /// Pairs of neighbours: 0 and 1, 2 and 3, ... of the f32 in `first`, then `second`, rounded to bf16.
    unsafe fn pair_along(first: Self::Line, second: Self::Line) -> Self::Line;
    /// Pairs of a number of `first` and that in the same place of `second`, rounded to bf16.
    unsafe fn pair_across(first: Self::Line, second: Self::Line) -> Self::Line;
    unsafe fn transpose(lines: [Self::Line; LINE]) -> [Self::Line; LINE];
    /// Brings 128 bytes near; the address need not exist.
    unsafe fn prefetch(address: *const u8);
}

/// Plain Rust; compiled for AVX2 too, it is fast enough where products are slower as well.
pub(super) struct PlainLines;

fn bits(value: u32) -> u32 {
    u32::from(bf16::from_f32(f32::from_bits(value)).to_bits())
}

impl Lines for PlainLines {
    type Line = [u32; LINE];

    #[inline(always)]
    unsafe fn zero() -> Self::Line {
        [0; LINE]
    }

    #[inline(always)]
    unsafe fn load_f32(from: *const f32, count: usize) -> Self::Line {
        // SAFETY: floats are cells.
        unsafe { Self::load(from.cast(), count) }
    }

    #[inline(always)]
    unsafe fn load_bf16(from: *const bf16, count: usize) -> Self::Line {
        // SAFETY: the caller vouches for `count` numbers.
        from_fn(|i| if i < count { u32::from(unsafe { *from.add(i) }.to_bits()) << 16 } else { 0 })
    }

    #[inline(always)]
    unsafe fn load(from: *const u32, count: usize) -> Self::Line {
        // SAFETY: the caller vouches for `count` cells.
        unsafe {
            if count >= LINE {
                return from.cast::<Self::Line>().read_unaligned();
            }
            from_fn(|i| if i < count { *from.add(i) } else { 0 })
        }
    }

    #[inline(always)]
    unsafe fn store(line: Self::Line, to: *mut u32, count: usize) {
        // SAFETY: the caller vouches for `count` cells, of which a line has at most 16.
        unsafe { line.as_ptr().copy_to_nonoverlapping(to, count.min(LINE)) }
    }

    #[inline(always)]
    unsafe fn round(line: Self::Line) -> Self::Line {
        line.map(|value| bits(value) << 16)
    }

    #[inline(always)]
    unsafe fn pair_along(first: Self::Line, second: Self::Line) -> Self::Line {
        let all = |i: usize| if i < LINE { first[i] } else { second[i - LINE] };
        from_fn(|i| bits(all(2 * i)) | bits(all(2 * i + 1)) << 16)
    }

    #[inline(always)]
    unsafe fn pair_across(first: Self::Line, second: Self::Line) -> Self::Line {
        from_fn(|i| bits(first[i]) | bits(second[i]) << 16)
    }

    #[inline(always)]
    unsafe fn transpose(lines: [Self::Line; LINE]) -> [Self::Line; LINE] {
        from_fn(|i| from_fn(|j| lines[j][i]))
    }

    #[inline(always)]
    unsafe fn prefetch(_: *const u8) {}
}

/// AVX-512; with `BF16`, its conversions to bf16 too.
#[cfg(target_arch = "x86_64")]
pub(super) struct WideLines<const BF16: bool>;

#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn first(count: usize) -> __mmask16 {
    if count >= LINE { !0 } else { (1 << count) - 1 }
}

#[cfg(target_arch = "x86_64")]
impl<const BF16: bool> WideLines<BF16> {
    /// The nearest bf16 of each f32, ties to even, in the upper halves; the lower halves are rubbish.
    #[inline(always)]
    unsafe fn nearest(line: __m512i) -> __m512i {
        // SAFETY: by the contract of `Lines`.
        unsafe {
            let odd = _mm512_and_si512(_mm512_srli_epi32::<16>(line), _mm512_set1_epi32(1));
            let nearest = _mm512_add_epi32(_mm512_add_epi32(line, _mm512_set1_epi32(0x7fff)), odd);
            let number = _mm512_castsi512_ps(line);
            let nan = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(number, number);
            _mm512_mask_or_epi32(nearest, nan, line, _mm512_set1_epi32(0x40_0000))
        }
    }
}

#[cfg(target_arch = "x86_64")]
impl<const BF16: bool> Lines for WideLines<BF16> {
    type Line = __m512i;

    #[inline(always)]
    unsafe fn zero() -> __m512i {
        // SAFETY: by the contract of the trait, as below.
        unsafe { _mm512_setzero_si512() }
    }

    #[inline(always)]
    unsafe fn load_f32(from: *const f32, count: usize) -> __m512i {
        // SAFETY: floats are cells.
        unsafe { Self::load(from.cast(), count) }
    }

    #[inline(always)]
    unsafe fn load_bf16(from: *const bf16, count: usize) -> __m512i {
        // SAFETY: the mask keeps to the `count` numbers that the caller vouches for.
        unsafe {
            let numbers = _mm256_maskz_loadu_epi16(first(count), from.cast());
            _mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(numbers))
        }
    }

    #[inline(always)]
    unsafe fn load(from: *const u32, count: usize) -> __m512i {
        // SAFETY: the mask keeps to the `count` cells that the caller vouches for.
        unsafe { _mm512_maskz_loadu_epi32(first(count), from.cast()) }
    }

    #[inline(always)]
    unsafe fn store(line: __m512i, to: *mut u32, count: usize) {
        // SAFETY: the mask keeps to the `count` cells that the caller vouches for.
        unsafe { _mm512_mask_storeu_epi32(to.cast(), first(count), line) }
    }

    #[inline(always)]
    unsafe fn round(line: __m512i) -> __m512i {
        // SAFETY: by the contract of the trait.
        unsafe { _mm512_and_si512(Self::nearest(line), _mm512_set1_epi32(0xffff_0000_u32 as i32)) }
    }

    #[inline(always)]
    unsafe fn pair_along(first: __m512i, second: __m512i) -> __m512i {
        // SAFETY: by the contract of the trait.
        unsafe {
            if BF16 {
                let pairs = _mm512_cvtne2ps_pbh(_mm512_castsi512_ps(second), _mm512_castsi512_ps(first));
                return transmute::<__m512bh, __m512i>(pairs);
            }
            let first = _mm512_cvtepi32_epi16(_mm512_srli_epi32::<16>(Self::nearest(first)));
            let second = _mm512_cvtepi32_epi16(_mm512_srli_epi32::<16>(Self::nearest(second)));
            _mm512_inserti64x4::<1>(_mm512_castsi256_si512(first), second)
        }
    }

    #[inline(always)]
    unsafe fn pair_across(first: __m512i, second: __m512i) -> __m512i {
        // SAFETY: by the contract of the trait.
        unsafe {
            if BF16 {
                let first = transmute::<__m256bh, __m256i>(_mm512_cvtneps_pbh(_mm512_castsi512_ps(first)));
                let second = transmute::<__m256bh, __m256i>(_mm512_cvtneps_pbh(_mm512_castsi512_ps(second)));
                let (low, high) = (_mm512_cvtepu16_epi32(first), _mm512_cvtepu16_epi32(second));
                return _mm512_or_si512(low, _mm512_slli_epi32::<16>(high));
            }
            _mm512_or_si512(_mm512_srli_epi32::<16>(Self::nearest(first)), Self::round(second))
        }
    }

    #[inline(always)]
    unsafe fn transpose(lines: [__m512i; LINE]) -> [__m512i; LINE] {
        // SAFETY: by the contract of the trait.
        unsafe {
            // Four rounds, of cells, pairs of cells, quarters and halves of lines.
            let mut a = lines;
            let mut b = a;
            for i in 0..8 {
                b[2 * i] = _mm512_unpacklo_epi32(a[2 * i], a[2 * i + 1]);
                b[2 * i + 1] = _mm512_unpackhi_epi32(a[2 * i], a[2 * i + 1]);
            }
            for i in 0..4 {
                for j in 0..2 {
                    a[4 * i + 2 * j] = _mm512_unpacklo_epi64(b[4 * i + j], b[4 * i + 2 + j]);
                    a[4 * i + 2 * j + 1] = _mm512_unpackhi_epi64(b[4 * i + j], b[4 * i + 2 + j]);
                }
            }
            for j in 0..4 {
                b[j] = _mm512_shuffle_i32x4::<0x88>(a[j], a[4 + j]);
                b[4 + j] = _mm512_shuffle_i32x4::<0xdd>(a[j], a[4 + j]);
                b[8 + j] = _mm512_shuffle_i32x4::<0x88>(a[8 + j], a[12 + j]);
                b[12 + j] = _mm512_shuffle_i32x4::<0xdd>(a[8 + j], a[12 + j]);
            }
            for j in 0..8 {
                a[j] = _mm512_shuffle_i32x4::<0x88>(b[j], b[8 + j]);
                a[8 + j] = _mm512_shuffle_i32x4::<0xdd>(b[j], b[8 + j]);
            }
            a
        }
    }

    #[inline(always)]
    unsafe fn prefetch(address: *const u8) {
        // SAFETY: prefetching has no effect on memory, and none at all where there is none.
        unsafe {
            _mm_prefetch::<_MM_HINT_T0>(address.cast());
            _mm_prefetch::<_MM_HINT_T0>(address.wrapping_add(64).cast());
        }
    }
}
