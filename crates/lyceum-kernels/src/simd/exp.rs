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
    const HIGH: f32 = 0.693_359_375;
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

/// The complementary error function, within 3e-7 of absolute error: Abramowitz and Stegun, formula 7.1.26.
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
