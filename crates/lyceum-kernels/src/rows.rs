//! Division of rows among the workers of a pool.

use std::ops::Range;

use crate::Pool;
use crate::pool::{Disjoint, share};
use crate::scratch::Scratch;

/// Elements below which a kernel runs on the calling thread: waking the others would cost more than it saves.
const SMALL: usize = 1 << 14;

/// Rows whose contributions to a column sum are added up before they join the total: fixed, so that the sum does not
/// depend on the number of threads.
const BLOCK: usize = 64;

/// Calls `f(rows, parts)` for contiguous ranges of `0..rows`, where `parts` are those rows of `outputs`.
///
/// `cost` is the number of elements handled in a row.
pub(crate) fn split_rows<const K: usize>(
    pool: &Pool,
    rows: usize,
    cost: usize,
    outputs: [&mut [f32]; K],
    f: impl Fn(Range<usize>, [&mut [f32]; K]) + Sync,
) {
    if pool.threads() == 1 || rows * cost < SMALL {
        return f(0..rows, outputs);
    }
    let widths = outputs.each_ref().map(|output| output.len() / rows);
    let outputs = outputs.map(Disjoint::new);
    pool.run(|worker| {
        let range = share(rows, pool.threads(), worker);
        let parts = std::array::from_fn(|k| {
            // SAFETY: the shares of different workers do not overlap.
            unsafe { outputs[k].slice(range.start * widths[k]..range.end * widths[k]) }
        });
        f(range, parts);
    });
}

/// Adds to `sums` the sums over all rows of what `f` adds to a partial sum.
///
/// `f(rows, part, partial)` is called for blocks of rows, where `part` is those rows of `output` and `partial` begins at 0. The
/// blocks' partial sums are added in order: the result is the same for every number of threads.
pub(crate) fn sum_rows(
    pool: &Pool,
    rows: usize,
    output: &mut [f32],
    sums: &mut [f32],
    f: impl Fn(Range<usize>, &mut [f32], &mut [f32]) + Sync,
) {
    if rows == 0 || sums.is_empty() {
        return;
    }
    let (blocks, width) = (rows.div_ceil(BLOCK), output.len() / rows);
    let mut partials = Scratch::zeroed(blocks * sums.len());
    let output = Disjoint::new(output);
    let block = |index: usize, partial: &mut [f32]| {
        let range = index * BLOCK..rows.min((index + 1) * BLOCK);
        // SAFETY: blocks of rows do not overlap and each is visited once.
        let part = unsafe { output.slice(range.start * width..range.end * width) };
        f(range, part, partial);
    };
    pool.split(&mut partials, sums.len(), |first, part| {
        for (index, partial) in part.chunks_exact_mut(sums.len()).enumerate() {
            block(first + index, partial);
        }
    });
    for partial in partials.chunks_exact(sums.len()) {
        for (sum, x) in sums.iter_mut().zip(partial) {
            *sum += x;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_handed_out_once_and_sums_do_not_depend_on_threads() {
        let (rows, width) = (1000, 33);
        let x: Vec<f32> = (0..rows * width).map(|i| (i as f32 * 0.7).sin()).collect();
        let mut reference: Option<Vec<f32>> = None;
        for threads in [1, 2, 3] {
            let pool = Pool::new(threads);
            let (mut a, mut b) = (vec![0.0; rows * width], vec![0.0; rows]);
            split_rows(&pool, rows, width, [&mut a, &mut b], |range, [a, b]| {
                assert_eq!((a.len(), b.len()), (range.len() * width, range.len()));
                for (row, b) in range.zip(b) {
                    *b += row as f32;
                }
            });
            assert!(b.iter().enumerate().all(|(row, &b)| b == row as f32));

            let mut sums = vec![1.0; width];
            sum_rows(&pool, rows, &mut [], &mut sums, |range, _, partial| {
                for row in range {
                    for (sum, x) in partial.iter_mut().zip(&x[row * width..]) {
                        *sum += x;
                    }
                }
            });
            assert_eq!(*reference.get_or_insert_with(|| sums.clone()), sums);
        }
    }
}
