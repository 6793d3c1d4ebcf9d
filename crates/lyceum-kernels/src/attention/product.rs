//! Small products in registers: four rows of the result at a time.

use crate::simd::Lanes;

/// Rows of a tile.
pub(super) const ROWS: usize = 4;

/// The left operand of a product: element (i, p) is `data[i * row + p * step]`.
#[derive(Clone, Copy)]
pub(super) struct Left<'a> {
    pub(super) data: &'a [f32],
    pub(super) row: usize,
    pub(super) step: usize,
}

/// c = a b, or c += a b with `accumulate`, for four rows of a and c.
///
/// b is depth x n (a multiple of the lanes) with rows `b_stride` apart, c is 4 x n with rows `c_stride` apart.
#[inline(always)]
pub(super) fn product<V: Lanes>(
    n: usize,
    depth: usize,
    a: Left,
    b: &[f32],
    b_stride: usize,
    c: &mut [f32],
    c_stride: usize,
    accumulate: bool,
) {
    if depth == 0 || n == 0 {
        return;
    }
    assert!(n.is_multiple_of(V::N));
    assert!((ROWS - 1) * a.row + (depth - 1) * a.step < a.data.len());
    assert!((depth - 1) * b_stride + n <= b.len() && (ROWS - 1) * c_stride + n <= c.len());
    let mut column = 0;
    while column < n {
        let left = (n - column) / V::N;
        // SAFETY: the assertions above bound all that the tiles read and write.
        column += unsafe {
            let (a, step) = ((a.data.as_ptr(), a.row), a.step);
            let (b, c) = ((b.as_ptr().add(column), b_stride), (c.as_mut_ptr().add(column), c_stride));
            if left >= V::TILE {
                match V::TILE {
                    4 => tile::<V, 4>(depth, a, step, b, c, accumulate),
                    2 => tile::<V, 2>(depth, a, step, b, c, accumulate),
                    _ => tile::<V, 1>(depth, a, step, b, c, accumulate),
                }
            } else if left >= 2 {
                tile::<V, 2>(depth, a, step, b, c, accumulate)
            } else {
                tile::<V, 1>(depth, a, step, b, c, accumulate)
            }
        };
    }
}

/// One tile of four rows and `W` registers; the number of columns done. Pointers come with their row strides.
///
/// # Safety
/// All elements of a, b and c that the product touches lie inside of their slices.
#[inline(always)]
unsafe fn tile<V: Lanes, const W: usize>(
    depth: usize,
    (a, a_row): (*const f32, usize),
    a_step: usize,
    (b, b_row): (*const f32, usize),
    (c, c_row): (*mut f32, usize),
    accumulate: bool,
) -> usize {
    // SAFETY: by this function's contract.
    unsafe {
        let mut sums = [[V::zero(); W]; ROWS];
        if accumulate {
            for (i, sums) in sums.iter_mut().enumerate() {
                for (j, sum) in sums.iter_mut().enumerate() {
                    *sum = V::read(c.add(i * c_row + j * V::N));
                }
            }
        }
        for p in 0..depth {
            let mut right = [V::zero(); W];
            for (j, right) in right.iter_mut().enumerate() {
                *right = V::read(b.add(p * b_row + j * V::N));
            }
            for (i, sums) in sums.iter_mut().enumerate() {
                let left = V::splat(*a.add(i * a_row + p * a_step));
                for (sum, right) in sums.iter_mut().zip(right) {
                    *sum = left.mul_add(right, *sum);
                }
            }
        }
        for (i, sums) in sums.into_iter().enumerate() {
            for (j, sum) in sums.into_iter().enumerate() {
                sum.write(c.add(i * c_row + j * V::N));
            }
        }
    }
    W * V::N
}
