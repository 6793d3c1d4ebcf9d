//! LayerNorm: `y = w * (x - mean) / sqrt(var + eps) + b` (Ba et al. 2016).

use crate::Pool;
use crate::rows::{split_rows, sum_rows};
use crate::simd::{Kernel, Lanes, run, steps};

/// Normalises the rows of `x` into `out` and saves mean and inverse standard deviation of each for the backward pass.
///
/// `x` and `out` are rows x width, `weight` and `bias` are width, `mean` and `inverse` are rows.
///
/// # Panics
/// If the lengths do not fit together.
pub fn layer_norm(
    pool: &Pool,
    x: &[f32],
    weight: &[f32],
    bias: &[f32],
    eps: f32,
    out: &mut [f32],
    mean: &mut [f32],
    inverse: &mut [f32],
) {
    let (rows, width) = (inverse.len(), weight.len());
    assert!(
        x.len() == rows * width && out.len() == x.len() && mean.len() == rows && bias.len() == width,
        "x and out must be {rows} rows of {width}"
    );
    split_rows(pool, rows, width, [out, mean, inverse], |range, [out, mean, inverse]| {
        let x = &x[range.start * width..range.end * width];
        run(pool.level(), Forward { x, weight, bias, eps, out, mean, inverse });
    });
}

/// Adds the gradient of [`layer_norm`] to `d_x`, `d_weight` and `d_bias`.
///
/// `x`, `d_out` and `d_x` are rows x width, `weight`, `d_weight` and `d_bias` are width; `mean` and `inverse` (rows) are what the
/// forward pass saved. The result is the same for every number of threads.
///
/// # Panics
/// If the lengths do not fit together.
pub fn layer_norm_backward(
    pool: &Pool,
    x: &[f32],
    weight: &[f32],
    mean: &[f32],
    inverse: &[f32],
    d_out: &[f32],
    d_x: &mut [f32],
    d_weight: &mut [f32],
    d_bias: &mut [f32],
) {
    let (rows, width) = (inverse.len(), weight.len());
    assert!(
        x.len() == rows * width && d_out.len() == x.len() && d_x.len() == x.len() && mean.len() == rows,
        "x, d_out and d_x must be {rows} rows of {width}"
    );
    assert!(d_weight.len() == width && d_bias.len() == width, "one weight and bias a column");
    // One sum of both gradients, weights first.
    let mut sums = vec![0.0; 2 * width];
    sum_rows(pool, rows, d_x, &mut sums, |range, d_x, sums| {
        let part = range.start * width..range.end * width;
        let (x, d_out) = (&x[part.clone()], &d_out[part]);
        let (mean, inverse) = (&mean[range.clone()], &inverse[range]);
        let (d_weight, d_bias) = sums.split_at_mut(width);
        run(pool.level(), Backward { x, weight, mean, inverse, d_out, d_x, d_weight, d_bias });
    });
    for (total, sum) in d_weight.iter_mut().chain(d_bias).zip(sums) {
        *total += sum;
    }
}

struct Forward<'a> {
    x: &'a [f32],
    weight: &'a [f32],
    bias: &'a [f32],
    eps: f32,
    out: &'a mut [f32],
    mean: &'a mut [f32],
    inverse: &'a mut [f32],
}

impl Kernel for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Lanes>(self) {
        let width = self.weight.len();
        for (row, (mean, inverse)) in self.mean.iter_mut().zip(self.inverse).enumerate() {
            let part = row * width..(row + 1) * width;
            let (x, out) = (&self.x[part.clone()], &mut self.out[part]);
            let mut sum = V::zero();
            for i in steps::<V>(width) {
                sum += V::load(&x[i..]);
            }
            *mean = sum.sum() / width as f32;
            let mut squares = V::zero();
            for i in steps::<V>(width) {
                // Lanes past the end hold the mean, so that they add nothing.
                let deviation = V::load_or(&x[i..], *mean) - V::splat(*mean);
                squares = deviation.mul_add(deviation, squares);
            }
            *inverse = 1.0 / (squares.sum() / width as f32 + self.eps).sqrt();
            for i in steps::<V>(width) {
                let normal = (V::load(&x[i..]) - V::splat(*mean)) * V::splat(*inverse);
                normal.mul_add(V::load(&self.weight[i..]), V::load(&self.bias[i..])).store(&mut out[i..]);
            }
        }
    }
}

struct Backward<'a> {
    x: &'a [f32],
    weight: &'a [f32],
    mean: &'a [f32],
    inverse: &'a [f32],
    d_out: &'a [f32],
    d_x: &'a mut [f32],
    d_weight: &'a mut [f32],
    d_bias: &'a mut [f32],
}

impl Kernel for Backward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Lanes>(self) {
        let width = self.weight.len();
        for (row, (&mean, &inverse)) in self.mean.iter().zip(self.inverse).enumerate() {
            let part = row * width..(row + 1) * width;
            let (x, d_out, d_x) = (&self.x[part.clone()], &self.d_out[part.clone()], &mut self.d_x[part]);
            let (mean, inverse) = (V::splat(mean), V::splat(inverse));
            let (mut sum, mut dot) = (V::zero(), V::zero());
            for i in steps::<V>(width) {
                let (d, normal) = (V::load(&d_out[i..]), (V::load(&x[i..]) - mean) * inverse);
                d.mul_add(normal, V::load(&self.d_weight[i..])).store(&mut self.d_weight[i..]);
                (V::load(&self.d_bias[i..]) + d).store(&mut self.d_bias[i..]);
                let weighted = d * V::load(&self.weight[i..]);
                sum += weighted;
                dot = weighted.mul_add(normal, dot);
            }
            let (sum, dot) = (V::splat(sum.sum() / width as f32), V::splat(dot.sum() / width as f32));
            for i in steps::<V>(width) {
                let normal = (V::load(&x[i..]) - mean) * inverse;
                let weighted = V::load(&d_out[i..]) * V::load(&self.weight[i..]);
                let d = (weighted - sum - normal * dot) * inverse;
                (V::load(&d_x[i..]) + d).store(&mut d_x[i..]);
            }
        }
    }
}
