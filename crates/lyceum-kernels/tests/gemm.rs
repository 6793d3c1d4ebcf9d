//! Products against a triple loop, at every level of this machine, and what must hold bit for bit.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::needless_pass_by_value,
    reason = "a test fails by panicking"
)]

use lyceum_kernels::{Level, Mat, Packed, Pool, Precision, bf16, gemm, gemm_packed};
use proptest::prelude::*;

const PRECISIONS: [Precision; 2] = [Precision::F32, Precision::Bf16];

/// Deterministic numbers of both signs between -1 and 1.
fn numbers(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    std::iter::repeat_with(next).take(count).collect()
}

fn round(precision: Precision, value: f32) -> f64 {
    f64::from(if precision == Precision::Bf16 { bf16::from_f32(value).to_f32() } else { value })
}

/// c = a b in f64, with the sum of magnitudes of each element, by which rounding errors are measured.
fn oracle(precision: Precision, a: Mat, b: Mat) -> Vec<(f64, f64)> {
    let mut c = Vec::new();
    for i in 0..a.rows() {
        for j in 0..b.cols() {
            let products = (0..a.cols()).map(|p| round(precision, a.at(i, p)) * round(precision, b.at(p, j)));
            c.push(products.fold((0.0, 0.0), |(sum, size), product| (sum + product, size + product.abs())));
        }
    }
    c
}

/// Storage of a matrix: strided rows, transposed or not, f32 or bf16.
#[derive(Clone, Copy, Debug)]
struct Form {
    gap: usize,
    transposed: bool,
    bf16: bool,
}

fn form() -> impl Strategy<Value = Form> {
    (0..4_usize, any::<bool>(), any::<bool>()).prop_map(|(gap, transposed, bf16)| Form {
        gap,
        transposed,
        bf16,
    })
}

struct Stored {
    singles: Vec<f32>,
    halves: Vec<bf16>,
    rows: usize,
    cols: usize,
    form: Form,
}

impl Stored {
    fn new(rows: usize, cols: usize, form: Form, seed: u64) -> Self {
        let (rows, cols) = if form.transposed { (cols, rows) } else { (rows, cols) };
        let singles = numbers(rows * (cols + form.gap), seed);
        let halves = singles.iter().map(|&value| bf16::from_f32(value)).collect();
        Self { singles, halves, rows, cols, form }
    }

    fn mat(&self) -> Mat<'_> {
        let mat = if self.form.bf16 {
            Mat::bf16(&self.halves, self.rows, self.cols)
        } else {
            Mat::f32(&self.singles, self.rows, self.cols)
        };
        let mat = mat.with_stride(self.cols + self.form.gap);
        if self.form.transposed { mat.t() } else { mat }
    }
}

/// Compares c, of `stride`, with the oracle; columns between the rows must be as they were.
fn check(
    c: &[f32],
    before: &[f32],
    stride: usize,
    n: usize,
    accumulate: bool,
    wanted: &[(f64, f64)],
    k: usize,
) {
    for (index, (&value, &old)) in c.iter().zip(before).enumerate() {
        let (row, column) = (index / stride, index % stride);
        if column >= n {
            assert_eq!(value.to_bits(), old.to_bits(), "element {row}, {column} is outside of c");
            continue;
        }
        let (mut sum, mut size) = wanted[row * n + column];
        if accumulate {
            sum += f64::from(old);
            size += f64::from(old.abs());
        }
        let bound = size * (k as f64 + 2.0) * f64::from(f32::EPSILON) + 1e-30;
        assert!((f64::from(value) - sum).abs() <= bound, "element {row}, {column}: {value}, not {sum}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn every_level_agrees_with_the_triple_loop(
        m in 1..30_usize, n in 1..80_usize, k in 0..70_usize, a in form(), b in form(),
        gap in 0..3_usize, accumulate: bool, threads in 1..4_usize, seed: u64,
    ) {
        let (a, b) = (Stored::new(m, k, a, seed), Stored::new(k, n, b, seed ^ 1));
        let before = numbers(m * (n + gap), seed ^ 2);
        for precision in PRECISIONS {
            let wanted = oracle(precision, a.mat(), b.mat());
            for level in Level::available() {
                let pool = Pool::with_level(threads, level);
                let mut c = before.clone();
                gemm(&pool, precision, a.mat(), b.mat(), &mut c, n + gap, accumulate);
                check(&c, &before, n + gap, n, accumulate, &wanted, k);

                let packed = Packed::pack(&pool, precision, b.mat().t());
                let mut again = before.clone();
                gemm_packed(&pool, a.mat(), &packed, &mut again, n + gap, accumulate);
                assert_eq!(bits(&c), bits(&again), "packing beforehand changes the product at {level}");
            }
        }
    }

    #[test]
    fn packed_weights_serve_as_operands(
        m in 1..30_usize, n in 1..90_usize, k in 1..80_usize, w in form(), transposed: bool, seed: u64,
    ) {
        let w = Stored::new(n, k, w, seed);
        let left = Stored::new(m, if transposed { k } else { n }, Form { gap: 0, transposed: false, bf16: false }, seed ^ 1);
        for level in Level::available() {
            let pool = Pool::with_level(2, level);
            for stored in PRECISIONS {
                let packed = Packed::pack(&pool, stored, w.mat());
                for i in 0..n {
                    for j in 0..k {
                        assert_eq!(f64::from(packed.view().at(i, j)), round(stored, w.mat().at(i, j)));
                    }
                }
                let right = if transposed { packed.view().t() } else { packed.view() };
                for precision in PRECISIONS {
                    let mut c = vec![f32::NAN; m * right.cols()];
                    let before = c.clone();
                    gemm(&pool, precision, left.mat(), right, &mut c, right.cols(), false);
                    let wanted = oracle(precision, left.mat(), right);
                    check(&c, &before, right.cols(), right.cols(), false, &wanted, right.rows());
                }
            }
        }
    }
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

/// What an adapter multiplies: one side is thin, and f32 operands are used as they are.
#[test]
fn thin_products_agree_with_the_triple_loop() {
    for (m, n, k) in
        [(48, 100, 300), (16, 70, 256), (333, 16, 260), (50, 48, 513), (1, 1, 256), (13, 33, 300)]
    {
        for transposed in [false, true] {
            let plain = Form { transposed: false, gap: 2, bf16: false };
            let (a, b) = (Stored::new(m, k, Form { transposed, ..plain }, 1), Stored::new(k, n, plain, 2));
            let wanted = oracle(Precision::F32, a.mat(), b.mat());
            let before = numbers(m * (n + 1), 3);
            for level in Level::available() {
                for (threads, accumulate) in [(1, false), (2, true), (3, false)] {
                    let mut c = before.clone();
                    let pool = Pool::with_level(threads, level);
                    gemm(&pool, Precision::Bf16, a.mat(), b.mat(), &mut c, n + 1, accumulate);
                    check(&c, &before, n + 1, n, accumulate, &wanted, k);
                }
            }
        }
    }
}

/// Sizes over the bounds of all blocks: of rows, of columns and along the sum.
#[test]
fn blocks_join_without_a_seam() {
    for (m, n, k) in [(700, 70, 3001), (3, 1100, 2050), (2100, 33, 1030), (90, 1300, 600)] {
        let (a, w) = (numbers(m * k, 1), numbers(n * k, 2));
        for level in Level::available() {
            let pool = Pool::with_level(2, level);
            for precision in PRECISIONS {
                let mut c = vec![0.0; m * n];
                gemm(&pool, precision, Mat::f32(&a, m, k), Mat::f32(&w, n, k).t(), &mut c, n, false);
                for (i, j) in (0..200).map(|sample| (sample * 7919 % m, sample * 104_729 % n)) {
                    let (a, w) = (Mat::f32(&a[i * k..], 1, k), Mat::f32(&w[j * k..], 1, k));
                    let wanted = oracle(precision, a, w.t());
                    check(&c[i * n + j..=i * n + j], &[0.0], 1, 1, false, &wanted, k);
                }
            }
        }
    }
}

/// The promise that samples do not depend on what else is in the batch, nor on the number of threads.
#[test]
fn a_row_is_bitwise_the_same_in_every_batch() {
    for (n, k) in [(100, 577), (410, 1537), (33, 64), (40, 6000)] {
        let (x, w) = (numbers(300 * k, 3), numbers(n * k, 4));
        for level in Level::available() {
            for precision in PRECISIONS {
                let packed = Packed::pack(&Pool::with_level(1, level), precision, Mat::f32(&w, n, k));
                let product = |threads: usize, first: usize, m: usize, accumulate: bool| {
                    let mut c = vec![0.5; m * n];
                    let x = Mat::f32(&x[first * k..], m, k);
                    gemm_packed(&Pool::with_level(threads, level), x, &packed, &mut c, n, accumulate);
                    bits(&c)
                };
                for accumulate in [false, true] {
                    let whole = product(2, 0, 300, accumulate);
                    assert_eq!(whole, product(3, 0, 300, accumulate), "the number of threads shows");
                    assert_eq!(whole, product(2, 0, 300, accumulate), "two runs differ");
                    for m in [1, 2, 3, 5, 7, 12, 13, 16, 31, 64] {
                        for first in [0, 300 - m] {
                            let part = product(2, first, m, accumulate);
                            assert!(
                                part == whole[first * n..(first + m) * n],
                                "{m} rows from {first}, {level}"
                            );
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn repacking_replaces_the_weights() {
    let pool = Pool::new(2);
    let (first, second, x) = (numbers(50 * 30, 5), numbers(50 * 30, 6), numbers(30, 7));
    for precision in PRECISIONS {
        let mut packed = Packed::pack(&pool, precision, Mat::f32(&first, 50, 30));
        packed.repack(&pool, Mat::f32(&second, 50, 30));
        let fresh = Packed::pack(&pool, precision, Mat::f32(&second, 50, 30));
        let product = |weights| {
            let mut c = vec![0.0; 50];
            gemm_packed(&pool, Mat::f32(&x, 1, 30), weights, &mut c, 50, false);
            bits(&c)
        };
        assert_eq!(product(&packed), product(&fresh));
    }
}

/// Infinities and NaN reach the elements they belong to, and no others.
#[test]
fn not_a_number_stays_in_its_row() {
    let (m, n, k) = (5, 40, 20);
    let (mut x, w) = (numbers(m * k, 8), numbers(n * k, 9));
    x[2 * k + 3] = f32::NAN;
    for level in Level::available() {
        for precision in PRECISIONS {
            let pool = Pool::with_level(1, level);
            let mut c = vec![0.0; m * n];
            gemm(&pool, precision, Mat::f32(&x, m, k), Mat::f32(&w, n, k).t(), &mut c, n, false);
            for (index, value) in c.iter().enumerate() {
                assert_eq!(value.is_nan(), index / n == 2, "{level}");
            }
        }
    }
}

#[test]
#[should_panic(expected = "the columns of the left operand")]
fn shapes_that_do_not_fit_are_refused() {
    let data = [0.0; 12];
    gemm(
        &Pool::new(1),
        Precision::F32,
        Mat::f32(&data, 3, 4),
        Mat::f32(&data, 3, 4),
        &mut [0.0; 12],
        4,
        false,
    );
}

#[test]
#[should_panic(expected = "do not hold 3 rows of 3 at stride 3")]
fn a_short_result_is_refused() {
    let data = [0.0; 12];
    gemm(
        &Pool::new(1),
        Precision::F32,
        Mat::f32(&data, 3, 4),
        Mat::f32(&data, 4, 3),
        &mut [0.0; 8],
        3,
        false,
    );
}
