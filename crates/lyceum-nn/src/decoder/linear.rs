//! A linear layer: the packed base product, and the adapter's two small ones beside it.

use crate::lora::{Group, PackedGroup};
use lyceum_kernels::{Mat, Packed, Pool, Precision, gemm, gemm_packed, scale};

/// A linear layer ready for use: the packed base, and the adapter's factors if it is adapted and on.
#[derive(Clone, Copy)]
pub(crate) struct Linear<'a> {
    pub(crate) base: &'a Packed,
    pub(crate) adapter: Option<LinearAdapter<'a>>,
}

/// An adapter on a linear layer.
#[derive(Clone, Copy)]
pub(crate) struct LinearAdapter<'a> {
    pub(crate) group: &'a Group,
    pub(crate) packed: &'a PackedGroup,
    pub(crate) flat: &'a [f32],
    pub(crate) scale: f32,
}

/// The gradients of a linear layer's weights, as far as they are trained.
pub(crate) enum LinearGradient<'a> {
    /// The weight's, row-major.
    Base(&'a mut [f32]),
    /// The whole adapter vector's; the weight is frozen.
    Adapter(&'a mut [f32]),
}

impl Linear<'_> {
    /// `out = x W^T` with the adapter's share; `out` is rows x outputs. What lies between the
    /// adapter's factors stays in `down`, for backward.
    pub(crate) fn forward(&self, pool: &Pool, x: Mat<'_>, out: &mut [f32], down: &mut Vec<f32>) {
        let outputs = self.base.rows();
        gemm_packed(pool, x, self.base, out, outputs, false);
        if let Some(adapter) = &self.adapter {
            self.descend(pool, x, down);
            let down = Mat::f32(down, x.rows(), adapter.group.inner());
            gemm_packed(pool, down, &adapter.packed.b, out, outputs, true);
        }
    }

    /// The first of the adapter's factors: `down = scale * x A^T`, rows x inner. Nothing without an adapter.
    pub(crate) fn descend(&self, pool: &Pool, x: Mat<'_>, down: &mut Vec<f32>) {
        if let Some(adapter) = &self.adapter {
            let width = adapter.group.inner();
            down.resize(x.rows() * width, 0.0);
            gemm_packed(pool, x, &adapter.packed.a, down, width, false);
            scale(pool, adapter.scale, down);
        }
    }

    /// `d_x = d_out W` with the adapter's share, and the weights' gradients from `x` and the `down` of forward.
    pub(crate) fn backward(
        &self,
        pool: &Pool,
        x: Mat<'_>,
        down: &[f32],
        d_out: &[f32],
        d_x: &mut [f32],
        gradient: LinearGradient<'_>,
        d_down: &mut Vec<f32>,
    ) {
        let (rows, outputs, inputs) = (x.rows(), self.base.rows(), self.base.cols());
        let precision = self.base.precision();
        let d = Mat::f32(d_out, rows, outputs);
        gemm(pool, precision, d, self.base.view(), d_x, inputs, false);
        match gradient {
            LinearGradient::Base(gradient) => gemm(pool, precision, d.t(), x, gradient, inputs, true),
            LinearGradient::Adapter(gradient) => {
                if let Some(adapter) = &self.adapter {
                    adapter.backward(pool, precision, x, down, d_out, d_x, gradient, d_down);
                }
            }
        }
    }
}

impl LinearAdapter<'_> {
    fn backward(
        &self,
        pool: &Pool,
        precision: Precision,
        x: Mat<'_>,
        down: &[f32],
        d_out: &[f32],
        d_x: &mut [f32],
        gradient: &mut [f32],
        d_down: &mut Vec<f32>,
    ) {
        let Self { group, flat, .. } = self;
        let (rows, width, rank) = (x.rows(), group.inner(), group.rank);
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
