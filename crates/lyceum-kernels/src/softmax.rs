//! Softmax of rows.

use crate::Pool;
use crate::rows::split_rows;
use crate::simd::{Kernel, Lanes, exp, run, steps};

/// Replaces each row of `x` (rows x width) by its softmax.
///
/// # Panics
/// If `x` is not whole rows.
pub fn softmax(pool: &Pool, width: usize, x: &mut [f32]) {
    assert!(width > 0 && x.len().is_multiple_of(width), "{} elements are not rows of {width}", x.len());
    split_rows(pool, x.len() / width, width, [x], |_, [x]| run(pool.level(), Forward { width, x }));
}

/// Replaces `d` (of the output on entry, of the input on return) by the gradient of [`softmax`], whose output was `p`.
///
/// `p` and `d` are rows x width.
///
/// # Panics
/// If they differ in length or are not whole rows.
pub fn softmax_backward(pool: &Pool, width: usize, p: &[f32], d: &mut [f32]) {
    assert!(width > 0 && p.len().is_multiple_of(width), "{} elements are not rows of {width}", p.len());
    assert_eq!(p.len(), d.len(), "p and d differ in length");
    split_rows(pool, p.len() / width, width, [d], |range, [d]| {
        run(pool.level(), Backward { width, p: &p[range.start * width..range.end * width], d });
    });
}

/// The greatest element of a row; negative infinity for none.
#[inline(always)]
pub(crate) fn maximum<V: Lanes>(x: &[f32]) -> f32 {
    let mut greatest = V::splat(f32::NEG_INFINITY);
    for i in steps::<V>(x.len()) {
        greatest = greatest.max(V::load_or(&x[i..], f32::NEG_INFINITY));
    }
    greatest.maximum()
}

struct Forward<'a> {
    width: usize,
    x: &'a mut [f32],
}

impl Kernel for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Lanes>(self) {
        for x in self.x.chunks_exact_mut(self.width) {
            softmax_row::<V>(x);
        }
    }
}

/// Replaces one row by its softmax.
#[inline(always)]
pub(crate) fn softmax_row<V: Lanes>(x: &mut [f32]) {
    let greatest = V::splat(maximum::<V>(x));
    let mut sum = V::zero();
    for i in steps::<V>(x.len()) {
        let p = exp(V::load_or(&x[i..], f32::NEG_INFINITY) - greatest);
        sum += p;
        p.store(&mut x[i..]);
    }
    let inverse = V::splat(1.0 / sum.sum());
    for i in steps::<V>(x.len()) {
        (V::load(&x[i..]) * inverse).store(&mut x[i..]);
    }
}

struct Backward<'a> {
    width: usize,
    p: &'a [f32],
    d: &'a mut [f32],
}

impl Kernel for Backward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Lanes>(self) {
        for (p, d) in self.p.chunks_exact(self.width).zip(self.d.chunks_exact_mut(self.width)) {
            let mut dot = V::zero();
            for i in steps::<V>(p.len()) {
                dot = V::load(&p[i..]).mul_add(V::load(&d[i..]), dot);
            }
            let dot = V::splat(dot.sum());
            for i in steps::<V>(p.len()) {
                (V::load(&p[i..]) * (V::load(&d[i..]) - dot)).store(&mut d[i..]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_close, assert_gradient, cases, noise, pools, weigh, widen};
    use proptest::prelude::*;

    fn oracle(width: usize, x: &[f64]) -> Vec<f64> {
        let row = |x: &[f64]| -> Vec<f64> {
            let greatest = x.iter().copied().fold(f64::MIN, f64::max);
            let sum: f64 = x.iter().map(|x| (x - greatest).exp()).sum();
            x.iter().map(|x| (x - greatest).exp() / sum).collect()
        };
        x.chunks_exact(width).flat_map(row).collect()
    }

    proptest! {
        #![proptest_config(cases(32))]

        #[test]
        fn softmax_is_the_definition_and_backward_its_gradient(
            rows in prop_oneof![1_usize..5, 300_usize..310],
            width in 1_usize..100,
            seed in any::<u64>(),
        ) {
            let x: Vec<f32> = noise(seed, rows * width).iter().map(|x| 5.0 * x).collect();
            let d_out = noise(!seed, x.len());
            let expected = oracle(width, &widen(&x));
            for pool in pools() {
                let mut p = x.clone();
                softmax(&pool, width, &mut p);
                assert_close(&p, &expected, 1e-6);
                let mut d = d_out.clone();
                softmax_backward(&pool, width, &p, &mut d);
                assert_gradient(|x| weigh(&oracle(width, x), &d_out), &x, &d, 2e-6);
            }
        }
    }

    #[test]
    fn masked_elements_have_probability_zero() {
        for pool in pools() {
            let mut x = [1000.0, f32::NEG_INFINITY, 1000.0, -1000.0];
            softmax(&pool, 4, &mut x);
            assert_eq!(x, [0.5, 0.0, 0.5, 0.0]);
        }
    }
}
