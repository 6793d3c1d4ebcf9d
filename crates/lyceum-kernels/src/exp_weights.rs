//! The unnormalised probabilities that sampling draws from.

use crate::Level;
use crate::simd::{Kernel, Lanes, exp, run, steps};
use crate::softmax::maximum;

/// The greatest element of a row, negative infinity for none. NaN never wins over a number to its right.
#[must_use]
pub fn row_maximum(level: Level, row: &[f32]) -> f32 {
    run(level, Maximum { row })
}

/// Replaces each logit x of a row by its weight exp(scale (x - top)) and returns the sum of the weights.
///
/// Works on one row, on the calling thread: rows of a batch have settings of their own and are shared among the
/// threads by the caller.
pub fn exp_weights(level: Level, row: &mut [f32], scale: f32, top: f32) -> f32 {
    run(level, Weights { row, scale, top })
}

struct Maximum<'a> {
    row: &'a [f32],
}

impl Kernel for Maximum<'_> {
    type Output = f32;

    #[inline(always)]
    fn run<V: Lanes>(self) -> f32 {
        maximum::<V>(self.row)
    }
}

struct Weights<'a> {
    row: &'a mut [f32],
    scale: f32,
    top: f32,
}

impl Kernel for Weights<'_> {
    type Output = f32;

    #[inline(always)]
    fn run<V: Lanes>(self) -> f32 {
        let (scale, top) = (V::splat(self.scale), V::splat(self.top));
        let mut sum = V::zero();
        for i in steps::<V>(self.row.len()) {
            let weight = exp((V::load_or(&self.row[i..], f32::NEG_INFINITY) - top) * scale);
            sum += weight;
            weight.store(&mut self.row[i..]);
        }
        sum.sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_level_agrees_with_the_formula(row in prop::collection::vec(-30f32..30.0, 1..200), scale in 0.1f32..3.0) {
            let top = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let expected: f64 = row.iter().map(|&x| (f64::from(scale) * f64::from(x - top)).exp()).sum();
            for level in Level::available() {
                prop_assert_eq!(row_maximum(level, &row), top);
                let mut weights = row.clone();
                let sum = exp_weights(level, &mut weights, scale, top);
                prop_assert!((f64::from(sum) - expected).abs() < 1e-4 * expected);
                prop_assert!((weights.iter().sum::<f32>() - sum).abs() < 1e-4 * sum);
            }
        }
    }

    #[test]
    fn a_row_of_nan_has_a_nan_sum() {
        for level in Level::available() {
            assert!(exp_weights(level, &mut [1.0, f32::NAN, 0.0], 1.0, 1.0).is_nan(), "{level:?}");
        }
    }
}
