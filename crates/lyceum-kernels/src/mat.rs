use half::bf16;

use crate::Packed;

/// A borrowed matrix, read through strides: f32 or bf16 rows, packed weights, or the transposed view of one of them.
#[derive(Clone, Copy, Debug)]
pub struct Mat<'a> {
    data: Data<'a>,
    rows: usize,
    cols: usize,
    stride: usize,
    transposed: bool,
}

/// Where the elements of a [`Mat`] lie.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Data<'a> {
    F32(&'a [f32]),
    Bf16(&'a [bf16]),
    Packed(&'a Packed),
}

impl<'a> Mat<'a> {
    /// `rows` x `cols` elements, row after row.
    ///
    /// # Panics
    /// If `data` is shorter than that.
    #[must_use]
    pub fn f32(data: &'a [f32], rows: usize, cols: usize) -> Self {
        Self::new(Data::F32(data), data.len(), rows, cols)
    }

    /// As [`Mat::f32`], of bf16 elements.
    ///
    /// # Panics
    /// If `data` is shorter than `rows` x `cols`.
    #[must_use]
    pub fn bf16(data: &'a [bf16], rows: usize, cols: usize) -> Self {
        Self::new(Data::Bf16(data), data.len(), rows, cols)
    }

    /// The packed weights, as rows x cols.
    pub(crate) fn packed(weights: &'a Packed) -> Self {
        let (rows, cols) = (weights.rows(), weights.cols());
        Self { data: Data::Packed(weights), rows, cols, stride: cols, transposed: false }
    }

    fn new(data: Data<'a>, len: usize, rows: usize, cols: usize) -> Self {
        assert!(
            rows.checked_mul(cols).is_some_and(|size| size <= len),
            "{len} elements are no {rows} x {cols} matrix"
        );
        Self { data, rows, cols, stride: cols, transposed: false }
    }

    /// The same matrix with its rows `stride` elements apart: a range of columns of a wider one.
    /// Call it before [`Mat::t`].
    ///
    /// # Panics
    /// If the stride is less than a row or the last row ends beyond the data, on packed weights and on a transposed
    /// view.
    #[must_use]
    pub fn with_stride(self, stride: usize) -> Self {
        let len = match self.data {
            Data::F32(data) => data.len(),
            Data::Bf16(data) => data.len(),
            Data::Packed(_) => 0,
        };
        assert!(!self.transposed, "set the stride before transposing");
        let end =
            self.rows.checked_sub(1).map_or(Some(0), |last| last.checked_mul(stride)?.checked_add(self.cols));
        assert!(
            stride >= self.cols && end.is_some_and(|end| end <= len),
            "{len} elements do not hold {} rows of {} at stride {stride}",
            self.rows,
            self.cols
        );
        Self { stride, ..self }
    }

    /// The transposed view.
    #[must_use]
    pub fn t(self) -> Self {
        Self { rows: self.cols, cols: self.rows, transposed: !self.transposed, ..self }
    }

    /// Number of rows.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns.
    #[must_use]
    pub fn cols(&self) -> usize {
        self.cols
    }

    pub(crate) fn data(&self) -> Data<'a> {
        self.data
    }

    /// Elements from one row to the next, of the matrix before it was transposed.
    pub(crate) fn stride(&self) -> usize {
        self.stride
    }

    pub(crate) fn is_transposed(&self) -> bool {
        self.transposed
    }

    /// The element at `row`, `col`, as f32. For checks and edges: products go through packed copies.
    ///
    /// # Panics
    /// If there is no such element.
    #[must_use]
    pub fn at(&self, row: usize, col: usize) -> f32 {
        assert!(
            row < self.rows && col < self.cols,
            "no element {row}, {col} in {} x {}",
            self.rows,
            self.cols
        );
        let (row, col) = if self.transposed { (col, row) } else { (row, col) };
        match self.data {
            Data::F32(data) => data[row * self.stride + col],
            Data::Bf16(data) => data[row * self.stride + col].to_f32(),
            Data::Packed(weights) => weights.at(row, col),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn views_share_their_elements() {
        let data: Vec<f32> = (0..12_u8).map(f32::from).collect();
        let columns = Mat::f32(&data[1..], 3, 2).with_stride(4);
        assert_eq!((columns.at(0, 0), columns.at(2, 1)), (1.0, 10.0));
        assert_eq!((columns.t().rows(), columns.t().cols(), columns.t().at(1, 2)), (2, 3, 10.0));
    }

    #[test]
    #[should_panic(expected = "do not hold 3 rows of 2 at stride 6")]
    fn a_stride_beyond_the_data_is_refused() {
        let _ = Mat::f32(&[0.0; 12], 3, 2).with_stride(6);
    }
}
