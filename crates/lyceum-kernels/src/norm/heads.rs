//! RMS norm of each head by itself: the query and key norm of Qwen3.

use super::rms::{row_backward, row_forward};
use crate::rows::{split_rows, sum_rows};
use crate::simd::{Kernel, Lanes, run, steps};
use crate::{HeadSpan, Pool};

/// Normalises each head of `span` in the rows of `x` into the same place of `out`, leaving the rest of `out` as it is.
///
/// `x` and `out` are rows x `span.stride`, `weight` is `span.dim`, `inverse` is rows x `span.heads`.
///
/// # Panics
/// If the lengths do not fit together.
pub fn rms_norm_heads(
    pool: &Pool,
    span: HeadSpan,
    x: &[f32],
    weight: &[f32],
    eps: f32,
    out: &mut [f32],
    inverse: &mut [f32],
) {
    let rows = span.rows_of(x);
    assert_eq!(weight.len(), span.dim, "one weight an element of a head");
    assert!(
        out.len() == x.len() && inverse.len() == rows * span.heads,
        "out and inverse must have {rows} rows"
    );
    split_rows(pool, rows, span.heads * span.dim, [out, inverse], |range, [out, inverse]| {
        let x = &x[range.start * span.stride..range.end * span.stride];
        run(pool.level(), Forward { span, x, weight, eps, out, inverse });
    });
}

/// The gradient of [`rms_norm_heads`]: replaces the heads of `span` in `d` (of `out` on entry, of `x` on return) and adds to `d_weight`.
///
/// `x` and `d` are rows x `span.stride`; `inverse` (rows x `span.heads`) is what the forward pass saved. The result is the same for every
/// number of threads.
///
/// # Panics
/// If the lengths do not fit together.
pub fn rms_norm_heads_backward(
    pool: &Pool,
    span: HeadSpan,
    x: &[f32],
    weight: &[f32],
    inverse: &[f32],
    d: &mut [f32],
    d_weight: &mut [f32],
) {
    let rows = span.rows_of(x);
    assert!(weight.len() == span.dim && d_weight.len() == span.dim, "one weight an element of a head");
    assert!(d.len() == x.len() && inverse.len() == rows * span.heads, "d and inverse must have {rows} rows");
    sum_rows(pool, rows, d, d_weight, |range, d, d_weight| {
        let x = &x[range.start * span.stride..range.end * span.stride];
        let inverse = &inverse[range.start * span.heads..range.end * span.heads];
        run(pool.level(), Backward { span, x, weight, inverse, d, d_weight });
    });
}

struct Forward<'a> {
    span: HeadSpan,
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
        for (index, inverse) in self.inverse.iter_mut().enumerate() {
            let head = self.span.head(index);
            *inverse = row_forward::<V>(&self.x[head.clone()], self.weight, self.eps, &mut self.out[head]);
        }
    }
}

struct Backward<'a> {
    span: HeadSpan,
    x: &'a [f32],
    weight: &'a [f32],
    inverse: &'a [f32],
    d: &'a mut [f32],
    d_weight: &'a mut [f32],
}

impl Kernel for Backward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Lanes>(self) {
        for (index, &inverse) in self.inverse.iter().enumerate() {
            let head = self.span.head(index);
            let (x, d) = (&self.x[head.clone()], &mut self.d[head]);
            let (inverse, projection) = row_backward::<V>(x, self.weight, inverse, d, self.d_weight);
            for i in steps::<V>(x.len()) {
                let weighted = V::load(&d[i..]) * V::load(&self.weight[i..]);
                projection.mul_add(V::load(&x[i..]), weighted * inverse).store(&mut d[i..]);
            }
        }
    }
}
