mod ahead;
mod blocked;
mod isa;
mod left;
mod lines;
mod pack;
mod packed;
mod peak;
mod scratch;
mod thin;
mod tile;

pub use packed::Packed;
pub use peak::peak_gflops;

use crate::mat::Data;
use crate::pool::Disjoint;
use crate::{Level, Mat, Pool};
use blocked::{Product, Right};
use pack::Cell;
use thin::Thin;
use tile::Kind;

/// Precision of the operands of a product. Sums are always f32.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Precision {
    /// Operands as they are.
    F32,
    /// Operands rounded to bf16, to nearest with ties to even (those of thin products may stay as they are).
    Bf16,
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
    let right = match b.data() {
        Data::Packed(weights) if b.is_transposed() && weights.precision() == precision => {
            Right::Packed(weights)
        }
        _ => Right::Source(b.t()),
    };
    product(pool, precision, a, (b.rows(), b.cols()), right, c, c_stride, accumulate);
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
    product(pool, w.precision(), x, (w.cols(), w.rows()), Right::Packed(w), c, c_stride, accumulate);
}

fn product(
    pool: &Pool,
    precision: Precision,
    a: Mat,
    (k, n): (usize, usize),
    b: Right,
    c: &mut [f32],
    c_stride: usize,
    accumulate: bool,
) {
    let m = a.rows();
    assert_eq!(a.cols(), k, "the columns of the left operand are not the rows of the right one");
    if m == 0 || n == 0 {
        return;
    }
    let end = (m - 1).checked_mul(c_stride).and_then(|start| start.checked_add(n));
    assert!(
        c_stride >= n && end.is_some_and(|end| end <= c.len()),
        "{} elements do not hold {m} rows of {n} at stride {c_stride}",
        c.len()
    );
    if k == 0 {
        if !accumulate {
            c.chunks_mut(c_stride).take(m).for_each(|row| row[..n].fill(0.0));
        }
        return;
    }
    let level = pool.level();
    let (kind, left_cell, right_cell) = match (precision, level, b) {
        (Precision::F32, ..) => (Kind::Floats, Cell::Float, Cell::Float),
        (Precision::Bf16, Level::Avx512Bf16, _) => (Kind::Pairs, Cell::Pair, Cell::Pair),
        (Precision::Bf16, _, Right::Packed(_)) => (Kind::Widening, Cell::Rounded, Cell::Pair),
        (Precision::Bf16, _, Right::Source(_)) => (Kind::Floats, Cell::Rounded, Cell::Rounded),
    };
    let c = Disjoint::new(c);
    if let (Precision::Bf16, Right::Source(right)) = (precision, b)
        && let Some(thin) = Thin::of(level, a, right.t())
    {
        return thin.run(pool, &c, c_stride, accumulate);
    }
    Product { level, kind, left_cell, right_cell, a, b, n, c, c_stride, accumulate }.run(pool);
}
