use std::ops::Range;

/// A run of adjacent heads inside the rows of a wider matrix, such as the keys in rows of fused queries, keys and values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadSpan {
    /// Elements of a whole row.
    pub stride: usize,
    /// Where in a row the first head begins.
    pub offset: usize,
    /// Number of heads.
    pub heads: usize,
    /// Elements of a head.
    pub dim: usize,
}

impl HeadSpan {
    /// Number of rows of `x`.
    ///
    /// # Panics
    /// If `x` is not whole rows or the heads reach past the end of a row.
    pub(crate) fn rows_of(self, x: &[f32]) -> usize {
        assert!(self.offset + self.heads * self.dim <= self.stride, "heads reach past the row: {self:?}");
        assert!(
            self.heads > 0 && self.dim > 0 && x.len().is_multiple_of(self.stride),
            "{} is not whole rows: {self:?}",
            x.len()
        );
        x.len() / self.stride
    }

    /// Where head `index` lies, counted over all rows.
    #[inline(always)]
    pub(crate) fn head(self, index: usize) -> Range<usize> {
        let start = index / self.heads * self.stride + self.offset + index % self.heads * self.dim;
        start..start + self.dim
    }
}
