//! The portable level: plain loops over eight lanes, rounding as written (no fused multiply-add).

use std::array;
use std::ops::{Add, AddAssign, Div, Mul, Sub};

use half::bf16;

use super::Lanes;

#[derive(Clone, Copy)]
pub(crate) struct Portable([f32; 8]);

impl Portable {
    #[inline(always)]
    fn zip(self, b: Self, f: impl Fn(f32, f32) -> f32) -> Self {
        Self(array::from_fn(|i| f(self.0[i], b.0[i])))
    }

    #[inline(always)]
    fn map(self, f: impl Fn(f32) -> f32) -> Self {
        Self(self.0.map(f))
    }
}

impl Add for Portable {
    type Output = Self;
    #[inline(always)]
    fn add(self, b: Self) -> Self {
        self.zip(b, |x, y| x + y)
    }
}

impl AddAssign for Portable {
    #[inline(always)]
    fn add_assign(&mut self, b: Self) {
        *self = *self + b;
    }
}

impl Sub for Portable {
    type Output = Self;
    #[inline(always)]
    fn sub(self, b: Self) -> Self {
        self.zip(b, |x, y| x - y)
    }
}

impl Mul for Portable {
    type Output = Self;
    #[inline(always)]
    fn mul(self, b: Self) -> Self {
        self.zip(b, |x, y| x * y)
    }
}

impl Div for Portable {
    type Output = Self;
    #[inline(always)]
    fn div(self, b: Self) -> Self {
        self.zip(b, |x, y| x / y)
    }
}

impl Lanes for Portable {
    const N: usize = 8;
    const TILE: usize = 1;

    #[inline(always)]
    fn splat(x: f32) -> Self {
        Self([x; 8])
    }

    #[inline(always)]
    fn load_or(x: &[f32], fill: f32) -> Self {
        match x.first_chunk() {
            Some(full) => Self(*full),
            None => Self(array::from_fn(|i| x.get(i).copied().unwrap_or(fill))),
        }
    }

    #[inline(always)]
    fn store(self, out: &mut [f32]) {
        match out.first_chunk_mut() {
            Some(full) => *full = self.0,
            None => out.copy_from_slice(&self.0[..out.len()]),
        }
    }

    #[inline(always)]
    fn load_bf16(x: &[bf16]) -> Self {
        match x.first_chunk::<8>() {
            Some(full) => Self(full.map(bf16::to_f32)),
            None => Self(array::from_fn(|i| x.get(i).map_or(0.0, |x| x.to_f32()))),
        }
    }

    #[inline(always)]
    fn store_bf16(self, out: &mut [bf16]) {
        for (out, x) in out.iter_mut().zip(self.0) {
            *out = bf16::from_f32(x);
        }
    }

    #[inline(always)]
    fn mul_add(self, b: Self, c: Self) -> Self {
        self * b + c
    }

    #[inline(always)]
    fn max(self, b: Self) -> Self {
        self.zip(b, |x, y| if x > y { x } else { y })
    }

    #[inline(always)]
    fn min(self, b: Self) -> Self {
        self.zip(b, |x, y| if x < y { x } else { y })
    }

    #[inline(always)]
    fn sqrt(self) -> Self {
        self.map(f32::sqrt)
    }

    #[inline(always)]
    fn round(self) -> Self {
        // Adding 1.5 * 2^23 leaves no fraction bits: several times faster than a call of `roundeven`.
        const SHIFT: f32 = 12_582_912.0;
        self.map(|x| if x.abs() < 4_194_304.0 { (x + SHIFT) - SHIFT } else { x })
    }

    #[inline(always)]
    fn scale_by_power(self, n: Self) -> Self {
        // In two steps, as 2^n alone may lie outside of the range of normal numbers.
        let power = |n: i32| f32::from_bits(((n + 127) as u32) << 23);
        self.zip(n, |x, n| {
            let n = n as i32;
            let half = n >> 1;
            x * power(half) * power(n - half)
        })
    }

    #[inline(always)]
    fn where_negative(self, yes: Self, no: Self) -> Self {
        Self(array::from_fn(|i| if self.0[i] < 0.0 { yes.0[i] } else { no.0[i] }))
    }

    #[inline(always)]
    fn sum(self) -> f32 {
        let [a, b, c, d, e, f, g, h] = self.0;
        ((a + e) + (c + g)) + ((b + f) + (d + h))
    }

    #[inline(always)]
    fn maximum(self) -> f32 {
        self.0.into_iter().fold(f32::NEG_INFINITY, f32::max)
    }

    #[inline(always)]
    fn sums(four: [Self; 4]) -> [f32; 4] {
        four.map(Self::sum)
    }

    #[inline(always)]
    unsafe fn read(x: *const f32) -> Self {
        // SAFETY: by this function's contract; an array of f32 is read unaligned.
        Self(unsafe { x.cast::<[f32; 8]>().read_unaligned() })
    }

    #[inline(always)]
    unsafe fn write(self, out: *mut f32) {
        // SAFETY: by this function's contract.
        unsafe { out.cast::<[f32; 8]>().write_unaligned(self.0) }
    }
}
