//! Products with a thin side, straight from f32 operands: to pack the wide one would take longer than to use it once.
//!
//! These are an adapter's: its gradients and the way back between its factors.

#[cfg(target_arch = "x86_64")]
use super::isa::{Avx2, Avx512};
use super::isa::{Isa, Portable};
use super::tile::finish;
use crate::mat::Data;
use crate::pool::{Disjoint, share};
use crate::{Level, Mat, Pool};

/// Rows or columns of c up to which a product is thin.
const THIN: usize = 48;
/// Terms of the sums from which it pays.
const DEEP: usize = 256;

/// c (+)= a b, with rows of b and of c contiguous.
pub(super) struct Thin<'a> {
    level: Level,
    a: &'a [f32],
    /// Elements of `a` from one row to the next, and from one term of the sum to the next.
    a_row: usize,
    a_step: usize,
    b: &'a [f32],
    b_step: usize,
    shape: (usize, usize, usize),
}

/// What one call of the micro-kernel works on: some rows and columns of c, over all terms.
struct Strip {
    terms: usize,
    a: *const f32,
    a_row: usize,
    a_step: usize,
    b: *const f32,
    b_step: usize,
    c: *mut f32,
    c_stride: usize,
    /// Columns that exist; those of the kernel beyond are neither read nor stored.
    cols: usize,
    accumulate: bool,
}

/// A micro-kernel with its rows and columns.
#[derive(Clone, Copy)]
struct Kernel {
    run: unsafe fn(&Strip),
    rows: usize,
    cols: usize,
}

impl<'a> Thin<'a> {
    /// The product a b if it is thin, and deep enough to pay, and both are plain f32 with rows of b contiguous.
    pub(super) fn of(level: Level, a: Mat<'a>, b: Mat<'a>) -> Option<Self> {
        let (m, n, k) = (a.rows(), b.cols(), a.cols());
        match (a.data(), b.data()) {
            (Data::F32(left), Data::F32(right)) if m.min(n) <= THIN && k >= DEEP && !b.is_transposed() => {
                let (a_row, a_step) = if a.is_transposed() { (1, a.stride()) } else { (a.stride(), 1) };
                Some(Self { level, a: left, a_row, a_step, b: right, b_step: b.stride(), shape: (m, n, k) })
            }
            _ => None,
        }
    }

    pub(super) fn run(&self, pool: &Pool, c: &Disjoint<'_, f32>, c_stride: usize, accumulate: bool) {
        let (m, n, terms) = self.shape;
        let kernels = kernels(self.level, n);
        let width = kernels[0].cols;
        pool.run(|worker| {
            let blocks = n.div_ceil(width);
            let part = |total: usize| share(total, pool.threads(), worker);
            let (rows, blocks) = if m >= n { (part(m), 0..blocks) } else { (0..m, part(blocks)) };
            for block in blocks {
                let column = block * width;
                let mut row = rows.start;
                while row < rows.end {
                    // The last of them has one row.
                    let Some(kernel) = kernels.iter().find(|kernel| kernel.rows <= rows.end - row) else {
                        break;
                    };
                    let strip = Strip {
                        terms,
                        a: self.a[row * self.a_row..].as_ptr(),
                        a_row: self.a_row,
                        a_step: self.a_step,
                        b: self.b[column..].as_ptr(),
                        b_step: self.b_step,
                        c: c.start().wrapping_add(row * c_stride + column),
                        c_stride,
                        cols: n - column,
                        accumulate,
                    };
                    // SAFETY: a pool's level is one that the machine has; `Mat` has checked that a and b have these rows
                    // and columns, `gemm` that c does, and the rows or columns of c are this worker's alone.
                    unsafe { (kernel.run)(&strip) };
                    row += kernel.rows;
                }
            }
        });
    }
}

/// The kernels of a level for a c of `n` columns, the highest first, as many sums each as stay in registers.
fn kernels(level: Level, n: usize) -> [Kernel; 3] {
    macro_rules! kernels {
        ($function:ident, $isa:ty, $vectors:literal: $($rows:literal),+) => {
            [$(Kernel { run: $function::<$rows, $vectors>, rows: $rows, cols: $vectors * <$isa>::LANES }),+]
        };
    }
    match level {
        #[cfg(target_arch = "x86_64")]
        Level::Avx512Bf16 | Level::Avx512 if n <= Avx512::LANES => kernels!(avx512, Avx512, 1: 16, 4, 1),
        #[cfg(target_arch = "x86_64")]
        Level::Avx512Bf16 | Level::Avx512 => kernels!(avx512, Avx512, 2: 12, 4, 1),
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => kernels!(avx2, Avx2, 2: 6, 2, 1),
        _ => kernels!(portable, Portable, 2: 2, 1, 1),
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx2,fma")]
unsafe fn avx512<const R: usize, const V: usize>(strip: &Strip) {
    // SAFETY: compiled for the level; the rest is passed on.
    unsafe { sum::<Avx512, R, V>(strip) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn avx2<const R: usize, const V: usize>(strip: &Strip) {
    // SAFETY: as above.
    unsafe { sum::<Avx2, R, V>(strip) }
}

unsafe fn portable<const R: usize, const V: usize>(strip: &Strip) {
    // SAFETY: as above.
    unsafe { sum::<Portable, R, V>(strip) }
}

/// Sums `R` rows and `V` vectors of columns.
#[inline(always)]
#[expect(clippy::needless_range_loop, reason = "rows and vectors index a, b, c and the sums alike")]
unsafe fn sum<I: Isa, const R: usize, const V: usize>(strip: &Strip) {
    let Strip { terms, mut a, a_row, a_step, mut b, b_step, c, c_stride, cols, accumulate } = *strip;
    // SAFETY: by the contracts of the strip and of `Isa`; columns beyond `cols` are not accessed.
    unsafe {
        let mut sums = [[I::zero(); V]; R];
        for _ in 0..terms {
            let mut right = [I::zero(); V];
            for v in 0..V {
                right[v] = I::load(b.wrapping_add(v * I::LANES), cols.saturating_sub(v * I::LANES));
            }
            for r in 0..R {
                let left = I::splat(a.wrapping_add(r * a_row));
                for v in 0..V {
                    sums[r][v] = I::multiply_add(left, right[v], sums[r][v]);
                }
            }
            a = a.wrapping_add(a_step);
            b = b.wrapping_add(b_step);
        }
        finish::<I, R, V>(sums, c, c_stride, cols, accumulate);
    }
}
