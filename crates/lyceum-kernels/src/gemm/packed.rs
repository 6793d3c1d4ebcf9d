use half::bf16;

use super::Precision;
use crate::{HugeVec, Mat, Pool};

/// Weights W (n x k) laid out once for the products x W^T.
#[derive(Clone, Debug)]
pub struct Packed {
    rows: usize,
    cols: usize,
    data: Panels,
}

#[derive(Clone, Debug)]
enum Panels {
    F32(HugeVec<f32>),
    Bf16(HugeVec<bf16>),
}

impl Packed {
    /// Packs `w`, rows being outputs and columns inputs.
    #[must_use]
    pub fn pack(pool: &Pool, precision: Precision, w: Mat) -> Self {
        let (rows, cols) = (w.rows(), w.cols());
        let data = match precision {
            Precision::F32 => Panels::F32(HugeVec::zeroed(rows * cols)),
            Precision::Bf16 => Panels::Bf16(HugeVec::zeroed(rows * cols)),
        };
        let mut packed = Self { rows, cols, data };
        packed.repack(pool, w);
        packed
    }

    /// Replaces the weights by others of the same shape, in place.
    ///
    /// # Panics
    /// If the shape differs.
    pub fn repack(&mut self, pool: &Pool, w: Mat) {
        assert_eq!((w.rows(), w.cols()), (self.rows, self.cols), "repacking cannot change the shape");
        let cols = self.cols;
        match &mut self.data {
            Panels::F32(data) => pool.split(data, 1, |first, part| {
                for (index, value) in (first..).zip(part) {
                    *value = w.at(index / cols, index % cols);
                }
            }),
            Panels::Bf16(data) => pool.split(data, 1, |first, part| {
                for (index, value) in (first..).zip(part) {
                    *value = bf16::from_f32(w.at(index / cols, index % cols));
                }
            }),
        }
    }

    /// Number of rows of W: outputs.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns of W: inputs.
    #[must_use]
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Precision the weights are kept in, and that of the products with them.
    #[must_use]
    pub fn precision(&self) -> Precision {
        match self.data {
            Panels::F32(_) => Precision::F32,
            Panels::Bf16(_) => Precision::Bf16,
        }
    }

    /// W as a matrix, an operand of [`gemm`](crate::gemm): dX = dY W needs no other copy of the weights.
    #[must_use]
    pub fn view(&self) -> Mat<'_> {
        Mat::packed(self)
    }

    /// Memory of the packed weights, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        match &self.data {
            Panels::F32(data) => size_of_val(&**data),
            Panels::Bf16(data) => size_of_val(&**data),
        }
    }

    pub(crate) fn at(&self, row: usize, col: usize) -> f32 {
        let index = row * self.cols + col;
        match &self.data {
            Panels::F32(data) => data[index],
            Panels::Bf16(data) => data[index].to_f32(),
        }
    }
}
