//! A linear layer: the packed base product, and the adapter's two small ones beside it.

use crate::decoder::model::{Linear, LinearAdapter};
use lyceum_kernels::{Mat, Pool, Precision, gemm, gemm_packed, scale};

/// Room for what lies between an adapter's A and B.
#[derive(Debug, Default)]
pub(crate) struct Inner {
    down: Vec<f32>,
    d_down: Vec<f32>,
}

/// The gradients of a linear layer's weights, as far as they are trained.
pub(crate) enum LinearGradient<'a> {
    /// The weight's, row-major.
    Base(&'a mut [f32]),
    /// The whole adapter vector's; the weight is frozen.
    Adapter(&'a mut [f32]),
}

impl Linear<'_> {
    /// `out = x W^T`, or `out += x W^T`, with the adapter's share; `out` is rows x outputs.
    pub(crate) fn forward(
        &self,
        pool: &Pool,
        x: Mat<'_>,
        out: &mut [f32],
        accumulate: bool,
        inner: &mut Inner,
    ) {
        let outputs = self.base.rows();
        gemm_packed(pool, x, self.base, out, outputs, accumulate);
        if let Some(adapter) = &self.adapter {
            let down = adapter.down(pool, x, &mut inner.down);
            gemm_packed(pool, down, &adapter.packed.b, out, outputs, true);
        }
    }

    /// `d_x = d_out W` with the adapter's share (`accumulate`: adds), and the weights' gradients from `x`.
    pub(crate) fn backward(
        &self,
        pool: &Pool,
        x: Mat<'_>,
        d_out: &[f32],
        d_x: &mut [f32],
        gradient: LinearGradient<'_>,
        inner: &mut Inner,
    ) {
        let (rows, outputs, inputs) = (x.rows(), self.base.rows(), self.base.cols());
        let precision = self.base.precision();
        let d = Mat::f32(d_out, rows, outputs);
        gemm(pool, precision, d, self.base.view(), d_x, inputs, false);
        match gradient {
            LinearGradient::Base(gradient) => gemm(pool, precision, d.t(), x, gradient, inputs, true),
            LinearGradient::Adapter(gradient) => {
                if let Some(adapter) = &self.adapter {
                    adapter.backward(pool, precision, x, d_out, d_x, gradient, inner);
                }
            }
        }
    }
}

impl LinearAdapter<'_> {
    /// `scale * x A^T`, rows x inner.
    fn down<'b>(&self, pool: &Pool, x: Mat<'_>, room: &'b mut Vec<f32>) -> Mat<'b> {
        let (rows, width) = (x.rows(), self.group.inner());
        room.resize(rows * width, 0.0);
        gemm_packed(pool, x, &self.packed.a, room, width, false);
        scale(pool, self.scale, room);
        Mat::f32(room, rows, width)
    }

    fn backward(
        &self,
        pool: &Pool,
        precision: Precision,
        x: Mat<'_>,
        d_out: &[f32],
        d_x: &mut [f32],
        gradient: &mut [f32],
        inner: &mut Inner,
    ) {
        let Self { group, flat, .. } = self;
        let (rows, width, rank) = (x.rows(), group.inner(), group.rank);
        let Inner { down, d_down } = inner;
        self.down(pool, x, down);
        d_down.resize(rows * width, 0.0);
        for (index, part) in group.parts.iter().enumerate() {
            let outputs = part.outputs.len();
            let d = Mat::f32(&d_out[part.outputs.start..], rows, outputs).with_stride(group.outputs);
            let b = Mat::f32(&flat[part.b.clone()], outputs, rank);
            gemm(pool, precision, d, b, &mut d_down[index * rank..], width, false);
            let down = Mat::f32(&down[index * rank..], rows, rank).with_stride(width);
            gemm(pool, precision, d.t(), down, &mut gradient[part.b.clone()], rank, true);
        }
        scale(pool, self.scale, d_down);
        let d_down = Mat::f32(d_down, rows, width);
        gemm(pool, precision, d_down.t(), x, &mut gradient[group.a.clone()], group.inputs, true);
        gemm(pool, precision, d_down, self.packed.a.view(), d_x, group.inputs, true);
    }
}
