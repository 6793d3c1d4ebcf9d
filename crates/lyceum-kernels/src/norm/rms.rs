//! RMS norm: `y = w * x / sqrt(mean(x^2) + eps)` (Zhang and Sennrich 2019).

use crate::Pool;
use crate::rows::{split_rows, sum_rows};
use crate::simd::{Kernel, Lanes, run, steps};

/// Normalises the rows of `x` into `out` and saves the inverse root mean square of each for the backward pass.
///
/// `x` and `out` are rows x width, `weight` is width, `inverse` is rows.
///
/// # Panics
/// If the lengths do not fit together.
pub fn rms_norm(pool: &Pool, x: &[f32], weight: &[f32], eps: f32, out: &mut [f32], inverse: &mut [f32]) {
    let (rows, width) = (inverse.len(), weight.len());
    assert!(x.len() == rows * width && out.len() == x.len(), "x and out must be {rows} rows of {width}");
    split_rows(pool, rows, width, [out, inverse], |range, [out, inverse]| {
        let x = &x[range.start * width..range.end * width];
        run(pool.level(), Forward { x, weight, eps, out, inverse });
    });
}

/// Adds `delta` to `residual`, then normalises it as [`rms_norm`] does: the two steps between layers in one pass.
///
/// `residual`, `delta` and `out` are rows x width, `weight` is width, `inverse` is rows.
///
/// # Panics
/// If the lengths do not fit together.
pub fn add_rms_norm(
    pool: &Pool,
    residual: &mut [f32],
    delta: &[f32],
    weight: &[f32],
    eps: f32,
    out: &mut [f32],
    inverse: &mut [f32],
) {
    let (rows, width) = (inverse.len(), weight.len());
    assert!(
        residual.len() == rows * width && delta.len() == residual.len() && out.len() == residual.len(),
        "residual, delta and out must be {rows} rows of {width}"
    );
    split_rows(pool, rows, width, [residual, out, inverse], |range, [residual, out, inverse]| {
        let delta = &delta[range.start * width..range.end * width];
        run(pool.level(), AddForward { residual, delta, weight, eps, out, inverse });
    });
}

/// Adds the gradient of [`rms_norm`] to `d_x` and `d_weight`.
///
/// `x`, `d_out` and `d_x` are rows x width, `weight` and `d_weight` are width; `inverse` (rows) is what the forward pass
/// saved. The result is the same for every number of threads.
///
/// # Panics
/// If the lengths do not fit together.
pub fn rms_norm_backward(
    pool: &Pool,
    x: &[f32],
    weight: &[f32],
    inverse: &[f32],
    d_out: &[f32],
    d_x: &mut [f32],
    d_weight: &mut [f32],
) {
    let (rows, width) = (inverse.len(), weight.len());
    assert!(
        x.len() == rows * width && d_out.len() == x.len() && d_x.len() == x.len() && d_weight.len() == width,
        "x, d_out and d_x must be {rows} rows of {width}"
    );
    sum_rows(pool, rows, d_x, d_weight, |range, d_x, d_weight| {
        let part = range.start * width..range.end * width;
        let (x, d_out) = (&x[part.clone()], &d_out[part]);
        run(pool.level(), Backward { x, weight, inverse: &inverse[range], d_out, d_x, d_weight });
    });
}

struct Forward<'a> {
    x: &'a [f32],
    weight: &'a [f32],
    eps: f32,
    out: &'a mut [f32],
    inverse: &'a mut [f32],
}

impl Kernel for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Lanes>(self) {
        let width = self.weight.len();
        for (row, inverse) in self.inverse.iter_mut().enumerate() {
            let part = row * width..(row + 1) * width;
            *inverse = row_forward::<V>(&self.x[part.clone()], self.weight, self.eps, &mut self.out[part]);
        }
    }
}

struct AddForward<'a> {
    residual: &'a mut [f32],
    delta: &'a [f32],
    weight: &'a [f32],
    eps: f32,
    out: &'a mut [f32],
    inverse: &'a mut [f32],
}

impl Kernel for AddForward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Lanes>(self) {
        let width = self.weight.len();
        for (row, inverse) in self.inverse.iter_mut().enumerate() {
            let part = row * width..(row + 1) * width;
            let (x, delta) = (&mut self.residual[part.clone()], &self.delta[part.clone()]);
            for i in steps::<V>(width) {
                (V::load(&x[i..]) + V::load(&delta[i..])).store(&mut x[i..]);
            }
            *inverse = row_forward::<V>(x, self.weight, self.eps, &mut self.out[part]);
        }
    }
}

struct Backward<'a> {
    x: &'a [f32],
    weight: &'a [f32],
    inverse: &'a [f32],
    d_out: &'a [f32],
    d_x: &'a mut [f32],
    d_weight: &'a mut [f32],
}

impl Kernel for Backward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Lanes>(self) {
        let width = self.weight.len();
        for (row, &inverse) in self.inverse.iter().enumerate() {
            let part = row * width..(row + 1) * width;
            let (x, d_out, d_x) = (&self.x[part.clone()], &self.d_out[part.clone()], &mut self.d_x[part]);
            let (inverse, projection) = row_backward::<V>(x, self.weight, inverse, d_out, self.d_weight);
            for i in steps::<V>(width) {
                let weighted = V::load(&d_out[i..]) * V::load(&self.weight[i..]);
                let d = projection.mul_add(V::load(&x[i..]), weighted * inverse);
                (V::load(&d_x[i..]) + d).store(&mut d_x[i..]);
            }
        }
    }
}

/// Normalises one row; its inverse root mean square.
#[inline(always)]
pub(super) fn row_forward<V: Lanes>(x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) -> f32 {
    let mut squares = V::zero();
    for i in steps::<V>(x.len()) {
        let x = V::load(&x[i..]);
        squares = x.mul_add(x, squares);
    }
    let inverse = 1.0 / (squares.sum() / x.len() as f32 + eps).sqrt();
    for i in steps::<V>(x.len()) {
        (V::load(&x[i..]) * V::splat(inverse) * V::load(&weight[i..])).store(&mut out[i..]);
    }
    inverse
}

/// Adds one row's part to `d_weight`; `(a, b)` such that the gradient of x is `a w d_out + b x`.
#[inline(always)]
pub(super) fn row_backward<V: Lanes>(
    x: &[f32],
    weight: &[f32],
    inverse: f32,
    d_out: &[f32],
    d_weight: &mut [f32],
) -> (V, V) {
    let mut dot = V::zero();
    for i in steps::<V>(x.len()) {
        let part = V::load(&d_out[i..]) * V::load(&x[i..]);
        dot = part.mul_add(V::load(&weight[i..]), dot);
        part.mul_add(V::splat(inverse), V::load(&d_weight[i..])).store(&mut d_weight[i..]);
    }
    let projection = -inverse * inverse * inverse * dot.sum() / x.len() as f32;
    (V::splat(inverse), V::splat(projection))
}
