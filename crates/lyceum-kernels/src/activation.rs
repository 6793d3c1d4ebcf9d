//! Activations of the feed-forward layers: SwiGLU (Shazeer 2020) and GELU (Hendrycks and Gimpel 2016).

use std::f32::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI};

use crate::Pool;
use crate::rows::split_rows;
use crate::simd::{Kernel, Lanes, erfc, exp, run, sigmoid, steps, tanh};

/// `out = silu(gate) * up`, silu(x) = x sigmoid(x).
///
/// `gate_up` is rows x 2 width, a row being its gates and then its ups; `out` is rows x width.
///
/// # Panics
/// If the lengths do not fit together.
pub fn swiglu(pool: &Pool, width: usize, gate_up: &[f32], out: &mut [f32]) {
    let rows = rows_of(out, width);
    assert_eq!(gate_up.len(), 2 * out.len(), "a gate and an up for every output");
    split_rows(pool, rows, 2 * width, [out], |range, [out]| {
        let gate_up = &gate_up[2 * range.start * width..2 * range.end * width];
        run(pool.level(), Swiglu { width, gate_up, out });
    });
}

/// Replaces `gate_up` by the gradient of [`swiglu`] with respect to it, given that of its output.
///
/// `gate_up` is rows x 2 width, `d_out` is rows x width.
///
/// # Panics
/// If the lengths do not fit together.
pub fn swiglu_backward(pool: &Pool, width: usize, gate_up: &mut [f32], d_out: &[f32]) {
    let rows = rows_of(d_out, width);
    assert_eq!(gate_up.len(), 2 * d_out.len(), "a gate and an up for every output");
    split_rows(pool, rows, 2 * width, [gate_up], |range, [gate_up]| {
        let d_out = &d_out[range.start * width..range.end * width];
        run(pool.level(), SwigluBackward { width, gate_up, d_out });
    });
}

/// The two forms of GELU in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gelu {
    /// `x Phi(x)` with the normal distribution function.
    Erf,
    /// Its approximation by a hyperbolic tangent (`gelu_new`, `gelu_pytorch_tanh`).
    Tanh,
}

/// `out = gelu(x)`, element by element.
///
/// # Panics
/// If the lengths differ.
pub fn gelu(pool: &Pool, form: Gelu, x: &[f32], out: &mut [f32]) {
    assert_eq!(x.len(), out.len(), "x and out differ in length");
    split_rows(pool, x.len(), 1, [out], |range, [out]| {
        run(pool.level(), Forward { form, x: &x[range], out });
    });
}

/// Multiplies `d` (of the output on entry, of `x` on return) by the derivative of [`gelu`] at `x`.
///
/// # Panics
/// If the lengths differ.
pub fn gelu_backward(pool: &Pool, form: Gelu, x: &[f32], d: &mut [f32]) {
    assert_eq!(x.len(), d.len(), "x and d differ in length");
    split_rows(pool, x.len(), 1, [d], |range, [d]| run(pool.level(), Backward { form, x: &x[range], d }));
}

fn rows_of(x: &[f32], width: usize) -> usize {
    assert!(width > 0 && x.len().is_multiple_of(width), "{} elements are not rows of {width}", x.len());
    x.len() / width
}

struct Swiglu<'a> {
    width: usize,
    gate_up: &'a [f32],
    out: &'a mut [f32],
}

impl Kernel for Swiglu<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Lanes>(self) {
        for (out, gate_up) in
            self.out.chunks_exact_mut(self.width).zip(self.gate_up.chunks_exact(2 * self.width))
        {
            let (gate, up) = gate_up.split_at(self.width);
            for i in steps::<V>(self.width) {
                let (gate, up) = (V::load(&gate[i..]), V::load(&up[i..]));
                (gate * sigmoid(gate) * up).store(&mut out[i..]);
            }
        }
    }
}

struct SwigluBackward<'a> {
    width: usize,
    gate_up: &'a mut [f32],
    d_out: &'a [f32],
}

impl Kernel for SwigluBackward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Lanes>(self) {
        let rows = self.d_out.chunks_exact(self.width).zip(self.gate_up.chunks_exact_mut(2 * self.width));
        for (d_out, gate_up) in rows {
            let (gate, up) = gate_up.split_at_mut(self.width);
            for i in steps::<V>(self.width) {
                let (g, u, d) = (V::load(&gate[i..]), V::load(&up[i..]), V::load(&d_out[i..]));
                let s = sigmoid(g);
                // silu'(g) = s (1 + g (1 - s))
                let slope = s * (V::splat(1.0) - s).mul_add(g, V::splat(1.0));
                (d * u * slope).store(&mut gate[i..]);
                (d * g * s).store(&mut up[i..]);
            }
        }
    }
}

struct Forward<'a> {
    form: Gelu,
    x: &'a [f32],
    out: &'a mut [f32],
}

impl Kernel for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Lanes>(self) {
        for i in steps::<V>(self.x.len()) {
            let x = V::load(&self.x[i..]);
            let gate = match self.form {
                Gelu::Erf => distribution(x),
                Gelu::Tanh => V::splat(0.5) * (V::splat(1.0) + tanh(inner(x))),
            };
            (x * gate).store(&mut self.out[i..]);
        }
    }
}

struct Backward<'a> {
    form: Gelu,
    x: &'a [f32],
    d: &'a mut [f32],
}

impl Kernel for Backward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Lanes>(self) {
        let (half, one) = (V::splat(0.5), V::splat(1.0));
        for i in steps::<V>(self.x.len()) {
            let x = V::load(&self.x[i..]);
            let slope = match self.form {
                Gelu::Erf => {
                    let density =
                        exp(x * x * V::splat(-0.5)) * V::splat(0.5 * FRAC_1_SQRT_2 * FRAC_2_SQRT_PI);
                    density.mul_add(x, distribution(x))
                }
                Gelu::Tanh => {
                    let t = tanh(inner(x));
                    let d_inner = (x * x).mul_add(V::splat(3.0 * CUBIC), one) * V::splat(LINEAR);
                    (half * x * (one - t * t)).mul_add(d_inner, half * (one + t))
                }
            };
            (V::load(&self.d[i..]) * slope).store(&mut self.d[i..]);
        }
    }
}

/// sqrt(2 / pi)
const LINEAR: f32 = FRAC_1_SQRT_2 * FRAC_2_SQRT_PI;
const CUBIC: f32 = 0.044_715;

/// The argument of the tangent in GELU's approximation.
#[inline(always)]
fn inner<V: Lanes>(x: V) -> V {
    x * V::splat(LINEAR) * (x * x).mul_add(V::splat(CUBIC), V::splat(1.0))
}

/// The normal distribution function.
#[inline(always)]
fn distribution<V: Lanes>(x: V) -> V {
    V::splat(0.5) * erfc(x * V::splat(-FRAC_1_SQRT_2))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_close, assert_gradient, cases, noise, pools, weigh, widen};
    use proptest::prelude::*;

    fn swiglu_oracle(width: usize, gate_up: &[f64]) -> Vec<f64> {
        let rows = gate_up.chunks_exact(2 * width);
        rows.flat_map(|row| (0..width).map(|i| row[i] / (1.0 + (-row[i]).exp()) * row[width + i])).collect()
    }

    /// The normal distribution function by the error function's series.
    fn distribution_of(x: f64) -> f64 {
        let z = x * std::f64::consts::FRAC_1_SQRT_2;
        let series = (1..150).scan(z, |term, n| {
            let now = *term / f64::from(2 * n - 1);
            *term *= -z * z / f64::from(n);
            Some(now)
        });
        0.5 + 0.5 * series.sum::<f64>() * std::f64::consts::FRAC_2_SQRT_PI
    }

    fn gelu_oracle(form: Gelu, x: f64) -> f64 {
        match form {
            Gelu::Erf => x * distribution_of(x),
            Gelu::Tanh => {
                let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x.powi(3));
                0.5 * x * (1.0 + inner.tanh())
            }
        }
    }

    proptest! {
        #![proptest_config(cases(32))]

        #[test]
        fn swiglu_is_the_definition_and_backward_its_gradient(
            rows in prop_oneof![1_usize..5, 100_usize..120],
            width in 1_usize..100,
            seed in any::<u64>(),
        ) {
            let gate_up: Vec<f32> = noise(seed, rows * 2 * width).iter().map(|x| 3.0 * x).collect();
            let d_out = noise(!seed, rows * width);
            let expected = swiglu_oracle(width, &widen(&gate_up));
            for pool in pools() {
                let mut out = vec![f32::NAN; rows * width];
                swiglu(&pool, width, &gate_up, &mut out);
                assert_close(&out, &expected, 1e-6);
                let mut d = gate_up.clone();
                swiglu_backward(&pool, width, &mut d, &d_out);
                assert_gradient(|x| weigh(&swiglu_oracle(width, x), &d_out), &gate_up, &d, 2e-6);
            }
        }

        #[test]
        fn gelu_is_the_definition_and_backward_its_gradient(
            len in prop_oneof![1_usize..80, 20_000_usize..20_100],
            tanh_form in any::<bool>(),
            seed in any::<u64>(),
        ) {
            let form = if tanh_form { Gelu::Tanh } else { Gelu::Erf };
            let x: Vec<f32> = noise(seed, len).iter().map(|x| 1.5 * x).collect();
            let expected: Vec<f64> = x.iter().map(|&x| gelu_oracle(form, f64::from(x))).collect();
            let slopes: Vec<f64> = widen(&x)
                .into_iter()
                .map(|x| (gelu_oracle(form, x + 1e-5) - gelu_oracle(form, x - 1e-5)) / 2e-5)
                .collect();
            for pool in pools() {
                let mut out = vec![f32::NAN; len];
                gelu(&pool, form, &x, &mut out);
                assert_close(&out, &expected, 1e-6);
                let mut d = vec![1.0; len];
                gelu_backward(&pool, form, &x, &mut d);
                assert_close(&d, &slopes, 2e-6);
            }
        }
    }

    #[test]
    fn activations_of_large_numbers_stay_finite() {
        for pool in pools() {
            let x = [-200.0, -100.0, 100.0, 200.0];
            for form in [Gelu::Erf, Gelu::Tanh] {
                let (mut out, mut d) = ([0.0; 4], [1.0; 4]);
                gelu(&pool, form, &x, &mut out);
                gelu_backward(&pool, form, &x, &mut d);
                assert_eq!(out.map(f32::abs), [0.0, 0.0, 100.0, 200.0]);
                assert_eq!(d.map(f32::abs), [0.0, 0.0, 1.0, 1.0]);
            }
            let (mut gate_up, mut out) = ([-200.0, 200.0, 1.0, 1.0], [0.0; 2]);
            swiglu(&pool, 2, &gate_up, &mut out);
            assert_eq!(out.map(f32::abs), [0.0, 200.0]);
            swiglu_backward(&pool, 2, &mut gate_up, &[1.0, 1.0]);
            assert_eq!(gate_up.map(f32::abs), [0.0, 1.0, 0.0, 200.0]);
        }
    }
}
