//! Rows kept for later in the precision of the products they will enter.

use lyceum_kernels::{HugeVec, Mat, Pool, Precision, bf16, to_bf16, to_f32};

/// A buffer of f32 or bf16 elements. In bf16 an operand of a product loses nothing by being kept: the product would
/// round it the same way.
#[derive(Debug, Clone)]
pub(crate) enum Store {
    F32(HugeVec<f32>),
    Bf16(HugeVec<bf16>),
}

impl Store {
    pub(crate) fn zeroed(precision: Precision, len: usize) -> Self {
        match precision {
            Precision::F32 => Self::F32(HugeVec::zeroed(len)),
            Precision::Bf16 => Self::Bf16(HugeVec::zeroed(len)),
        }
    }

    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::F32(data) => size_of_val(&**data),
            Self::Bf16(data) => size_of_val(&**data),
        }
    }

    /// Keeps `values` from element `offset` on.
    pub(crate) fn put(&mut self, pool: &Pool, offset: usize, values: &[f32]) {
        let range = offset..offset + values.len();
        match self {
            Self::F32(data) => {
                pool.split(&mut data[range], 1, |at, part| {
                    part.copy_from_slice(&values[at..at + part.len()]);
                });
            }
            Self::Bf16(data) => to_bf16(pool, values, &mut data[range]),
        }
    }

    /// Copies elements from `offset` on to `values`.
    pub(crate) fn get(&self, pool: &Pool, offset: usize, values: &mut [f32]) {
        let range = offset..offset + values.len();
        match self {
            Self::F32(data) => {
                let data = &data[range];
                pool.split(values, 1, |at, part| part.copy_from_slice(&data[at..at + part.len()]));
            }
            Self::Bf16(data) => to_f32(pool, &data[range], values),
        }
    }

    /// The first `rows * cols` elements as a matrix.
    pub(crate) fn mat(&self, rows: usize, cols: usize) -> Mat<'_> {
        match self {
            Self::F32(data) => Mat::f32(data, rows, cols),
            Self::Bf16(data) => Mat::bf16(data, rows, cols),
        }
    }
}
