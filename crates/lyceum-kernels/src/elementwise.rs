//! Sums and multiples of matrices, row by row.

use crate::Pool;
use crate::rows::{split_rows, sum_rows};
use crate::simd::{Kernel, Lanes, run, steps};

/// `y += factor * x`.
///
/// # Panics
/// If the lengths differ.
pub fn add_scaled(pool: &Pool, factor: f32, x: &[f32], y: &mut [f32]) {
    assert_eq!(x.len(), y.len(), "x and y differ in length");
    split_rows(pool, x.len(), 1, [y], |range, [y]| run(pool.level(), AddScaled { factor, x: &x[range], y }));
}

/// `x *= factor`.
pub fn scale(pool: &Pool, factor: f32, x: &mut [f32]) {
    split_rows(pool, x.len(), 1, [x], |_, [x]| run(pool.level(), Scale { factor, x }));
}

/// Adds `bias` to every row of `x` (rows x `bias.len()`).
///
/// # Panics
/// If `x` is not whole rows.
pub fn add_bias(pool: &Pool, bias: &[f32], x: &mut [f32]) {
    let width = bias.len();
    assert!(width > 0 && x.len().is_multiple_of(width), "{} elements are not rows of {width}", x.len());
    split_rows(pool, x.len() / width, width, [x], |_, [x]| {
        for x in x.chunks_exact_mut(width) {
            run(pool.level(), AddScaled { factor: 1.0, x: bias, y: x });
        }
    });
}

/// Adds the sum of all rows of `x` (rows x `sums.len()`) to `sums`: the gradient of [`add_bias`]. The same for every number of threads.
///
/// # Panics
/// If `x` is not whole rows.
pub fn add_column_sums(pool: &Pool, x: &[f32], sums: &mut [f32]) {
    let width = sums.len();
    assert!(width > 0 && x.len().is_multiple_of(width), "{} elements are not rows of {width}", x.len());
    sum_rows(pool, x.len() / width, &mut [], sums, |range, _, partial| {
        for row in range {
            run(pool.level(), AddScaled { factor: 1.0, x: &x[row * width..(row + 1) * width], y: partial });
        }
    });
}

struct AddScaled<'a> {
    factor: f32,
    x: &'a [f32],
    y: &'a mut [f32],
}

impl Kernel for AddScaled<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Lanes>(self) {
        for i in steps::<V>(self.y.len()) {
            V::load(&self.x[i..])
                .mul_add(V::splat(self.factor), V::load(&self.y[i..]))
                .store(&mut self.y[i..]);
        }
    }
}

struct Scale<'a> {
    factor: f32,
    x: &'a mut [f32],
}

impl Kernel for Scale<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Lanes>(self) {
        for i in steps::<V>(self.x.len()) {
            (V::load(&self.x[i..]) * V::splat(self.factor)).store(&mut self.x[i..]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_close, cases, noise, pools, widen};
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(cases(32))]

        #[test]
        fn sums_and_multiples_are_the_definitions(
            rows in prop_oneof![1_usize..5, 300_usize..310],
            width in 1_usize..90,
            factor in -2.0_f32..2.0,
            seed in any::<u64>(),
        ) {
            let (x, y, bias) = (noise(seed, rows * width), noise(seed ^ 1, rows * width), noise(seed ^ 2, width));
            let (x64, y64) = (widen(&x), widen(&y));
            let added: Vec<f64> = x64.iter().zip(&y64).map(|(x, y)| y + f64::from(factor) * x).collect();
            let scaled: Vec<f64> = x64.iter().map(|x| f64::from(factor) * x).collect();
            let biased: Vec<f64> = x64.iter().zip(bias.iter().cycle()).map(|(x, &b)| x + f64::from(b)).collect();
            let sums: Vec<f64> =
                (0..width).map(|i| f64::from(bias[i]) + x64.iter().skip(i).step_by(width).sum::<f64>()).collect();
            for pool in pools() {
                let mut result = y.clone();
                add_scaled(&pool, factor, &x, &mut result);
                assert_close(&result, &added, 1e-6);
                let mut result = x.clone();
                scale(&pool, factor, &mut result);
                assert_close(&result, &scaled, 1e-6);
                let mut result = x.clone();
                add_bias(&pool, &bias, &mut result);
                assert_close(&result, &biased, 1e-6);
                let mut result = bias.clone();
                add_column_sums(&pool, &x, &mut result);
                assert_close(&result, &sums, 1e-5);
                let mut again = bias.clone();
                add_column_sums(&Pool::with_level(4, pool.level()), &x, &mut again);
                prop_assert_eq!(result, again);
            }
        }
    }
}
