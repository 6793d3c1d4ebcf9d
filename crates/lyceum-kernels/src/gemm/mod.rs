mod packed;

pub use packed::Packed;

use half::bf16;

use crate::pool::{Disjoint, share};
use crate::{Mat, Pool};

/// Precision of the operands of a product. Sums are always f32.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Precision {
    /// Operands as they are.
    F32,
    /// Operands rounded to bf16, to nearest with ties to even.
    Bf16,
}

impl Precision {
    fn round(self, value: f32) -> f32 {
        match self {
            Self::F32 => value,
            Self::Bf16 => bf16::from_f32(value).to_f32(),
        }
    }
}

/// c = a b, or c += a b with `accumulate`: a is m x k, b k x n, and c's m rows of n lie `c_stride` apart.
///
/// # Panics
/// If the shapes do not fit.
pub fn gemm(
    pool: &Pool,
    precision: Precision,
    a: Mat,
    b: Mat,
    c: &mut [f32],
    c_stride: usize,
    accumulate: bool,
) {
    let (m, n, k) = (a.rows(), b.cols(), a.cols());
    assert_eq!(k, b.rows(), "the columns of a are not the rows of b");
    if m == 0 || n == 0 {
        return;
    }
    assert!(
        c_stride >= n && c.len() >= (m - 1) * c_stride + n,
        "c is too short for {m} rows of {n} at {c_stride}"
    );
    let c = Disjoint::new(c);
    pool.run(|worker| {
        for i in share(m, pool.threads(), worker) {
            // SAFETY: a row belongs to one worker.
            let row = unsafe { c.slice(i * c_stride..i * c_stride + n) };
            for (j, sum) in row.iter_mut().enumerate() {
                if !accumulate {
                    *sum = 0.0;
                }
                for p in 0..k {
                    *sum += precision.round(a.at(i, p)) * precision.round(b.at(p, j));
                }
            }
        }
    });
}

/// c = x W^T, or c += x W^T with `accumulate`: x is m x k, W the packed n x k weights, and c's m rows of n lie
/// `c_stride` apart.
///
/// A row of c depends on the same row of x and on W only: it is bitwise the same alone and in any batch, at any
/// place in it, for every number of threads.
///
/// # Panics
/// If the shapes do not fit.
pub fn gemm_packed(pool: &Pool, x: Mat, w: &Packed, c: &mut [f32], c_stride: usize, accumulate: bool) {
    gemm(pool, w.precision(), x, w.view().t(), c, c_stride, accumulate);
}
