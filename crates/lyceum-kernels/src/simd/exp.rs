//! The exponential and its relatives, over lanes.

use std::f32::consts::LOG2_E;
use std::f64::consts::LN_2;

use super::Lanes;

/// `e^x`, within 2 units in the last place; infinite above 88.73, 0 below -103.98, NaN for NaN.
///
/// `x = n ln 2 + r` with |r| <= ln 2 / 2 (Cody and Waite), a polynomial of degree 7 in r, and a scaling by `2^n`.
/// Coefficients of Moshier's Cephes library (`expf`).
#[inline(always)]
pub(crate) fn exp<V: Lanes>(x: V) -> V {
    // ln 2 in two parts, of which the first has few enough bits for n times it to be exact.
    const HIGH: f32 = 355.0 / 512.0;
    const LOW: f32 = (LN_2 - HIGH as f64) as f32;
    // `max` and `min` return their second operand for NaN, which lets it through.
    let x = V::splat(-104.0).max(V::splat(89.0).min(x));
    let n = (x * V::splat(LOG2_E)).round();
    let r = n.mul_add(V::splat(-LOW), n.mul_add(V::splat(-HIGH), x));
    let mut p = V::splat(1.987_569_1e-4);
    for coefficient in [1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 0.166_666_66, 0.5, 1.0, 1.0] {
        p = p.mul_add(r, V::splat(coefficient));
    }
    p.scale_by_power(n)
}

/// `1 / (1 + e^-x)`.
#[inline(always)]
pub(crate) fn sigmoid<V: Lanes>(x: V) -> V {
    V::splat(1.0) / (V::splat(1.0) + exp(V::zero() - x))
}

/// The hyperbolic tangent, within 2e-7 of absolute error.
#[inline(always)]
pub(crate) fn tanh<V: Lanes>(x: V) -> V {
    let one = V::splat(1.0);
    one - V::splat(2.0) / (exp(x + x) + one)
}

/// The complementary error function, within 1e-6 of absolute error: Abramowitz and Stegun, formula 7.1.26.
#[inline(always)]
pub(crate) fn erfc<V: Lanes>(x: V) -> V {
    let one = V::splat(1.0);
    let magnitude = x.max(V::zero() - x);
    let t = one / V::splat(0.327_591_1).mul_add(magnitude, one);
    let mut p = V::splat(1.061_405_4);
    for coefficient in [-1.453_152_1, 1.421_413_7, -0.284_496_72, 0.254_829_6, 0.0] {
        p = p.mul_add(t, V::splat(coefficient));
    }
    let tail = p * exp(V::zero() - magnitude * magnitude);
    x.where_negative(V::splat(2.0) - tail, tail)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::{Kernel, run, steps};
    use crate::testing::pools;

    #[derive(Clone, Copy)]
    enum Function {
        Exp,
        Sigmoid,
        Tanh,
        Erfc,
    }

    struct Map<'a>(Function, &'a [f32], &'a mut [f32]);

    impl Kernel for Map<'_> {
        type Output = ();

        #[inline(always)]
        fn run<V: Lanes>(self) {
            let Self(function, x, out) = self;
            for i in steps::<V>(x.len()) {
                let x = V::load(&x[i..]);
                let y = match function {
                    Function::Exp => exp(x),
                    Function::Sigmoid => sigmoid(x),
                    Function::Tanh => tanh(x),
                    Function::Erfc => erfc(x),
                };
                y.store(&mut out[i..]);
            }
        }
    }

    fn map(pool: &crate::Pool, function: Function, x: &[f32]) -> Vec<f32> {
        let mut out = vec![f32::NAN; x.len()];
        run(pool.level(), Map(function, x, &mut out));
        out
    }

    /// About a million numbers of both signs, dense where |x| is small.
    fn sweep(limit: f32) -> Vec<f32> {
        (-500_003..=500_003).map(|i: i32| limit * (i as f32 / 500_003.0).powi(3)).collect()
    }

    #[test]
    fn exp_is_within_two_units_in_the_last_place() {
        let x = sweep(87.3);
        for pool in pools() {
            let worst = map(&pool, Function::Exp, &x)
                .iter()
                .zip(&x)
                .map(|(&y, &x)| {
                    let expected = f64::from(x).exp();
                    let unit = f64::from((expected as f32).next_up()) - f64::from(expected as f32);
                    (f64::from(y) - expected).abs() / unit
                })
                .fold(0.0, f64::max);
            assert!(worst < 2.0, "{worst} units at {}", pool.level());
        }
    }

    #[test]
    fn exp_keeps_its_limits() {
        let x = [0.0, -0.0, f32::NEG_INFINITY, -1e30, -104.0, f32::INFINITY, 89.0, 1e30, f32::NAN];
        for pool in pools() {
            let y = map(&pool, Function::Exp, &x);
            assert_eq!(y[..5], [1.0, 1.0, 0.0, 0.0, 0.0]);
            assert_eq!(y[5..8], [f32::INFINITY; 3]);
            assert!(y[8].is_nan());
            // Numbers too small to be normal keep what precision they have.
            let small = map(&pool, Function::Exp, &[-95.0])[0];
            assert!((small / (-95.0_f32).exp() - 1.0).abs() < 1e-3);
        }
    }

    #[test]
    fn relatives_are_within_their_absolute_errors() {
        // The complementary error function by its series, which converges quickly up to 4.
        let erfc_of = |x: f64| {
            let series = (1..120).scan(x, |term, n| {
                let now = *term / f64::from(2 * n - 1);
                *term *= -x * x / f64::from(n);
                Some(now)
            });
            1.0 - series.sum::<f64>() * std::f64::consts::FRAC_2_SQRT_PI
        };
        type Case<'a> = (Function, &'a dyn Fn(f64) -> f64, f32, f64);
        let cases: [Case; 3] = [
            (Function::Sigmoid, &|x| 1.0 / (1.0 + (-x).exp()), 100.0, 2e-7),
            (Function::Tanh, &f64::tanh, 50.0, 2e-7),
            (Function::Erfc, &erfc_of, 4.0, 1e-6),
        ];
        for (function, expected, limit, tolerance) in cases {
            let x: Vec<f32> = sweep(limit).into_iter().step_by(37).collect();
            for pool in pools() {
                for (y, &x) in map(&pool, function, &x).into_iter().zip(&x) {
                    let error = (f64::from(y) - expected(f64::from(x))).abs();
                    assert!(error <= tolerance, "{error:e} at {x}, {}", pool.level());
                }
            }
        }
    }
}
