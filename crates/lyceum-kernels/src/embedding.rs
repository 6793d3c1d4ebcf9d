//! Embedding: rows of a table by token id, and the gradient of that.

use crate::Pool;
use crate::pool::{Disjoint, share};
use crate::rows::split_rows;

/// Copies row `ids[i]` of `table` to row `i` of `out`.
///
/// `table` is vocabulary x width, `out` is ids x width.
///
/// # Panics
/// If the lengths do not fit together or an id is past the table.
pub fn embedding_gather(pool: &Pool, width: usize, table: &[f32], ids: &[u32], out: &mut [f32]) {
    check(width, table, ids, out);
    split_rows(pool, ids.len(), width, [out], |range, [out]| {
        for (&id, out) in ids[range].iter().zip(out.chunks_exact_mut(width)) {
            out.copy_from_slice(&table[id as usize * width..][..width]);
        }
    });
}

/// Adds row `i` of `d_out` to row `ids[i]` of `d_table`, in the order of `i`: the same for every number of threads.
///
/// `d_out` is ids x width, `d_table` is vocabulary x width.
///
/// # Panics
/// If the lengths do not fit together or an id is past the table.
pub fn embedding_scatter_add(pool: &Pool, width: usize, d_out: &[f32], ids: &[u32], d_table: &mut [f32]) {
    check(width, d_table, ids, d_out);
    let table = Disjoint::new(d_table);
    pool.run(|worker| {
        // By columns: every worker has the same work whichever ids repeat.
        let columns = share(width, pool.threads(), worker);
        for (&id, d) in ids.iter().zip(d_out.chunks_exact(width)) {
            let row = id as usize * width;
            // SAFETY: workers own disjoint columns, and this borrow ends before the next begins.
            let sums = unsafe { table.slice(row + columns.start..row + columns.end) };
            for (sum, d) in sums.iter_mut().zip(&d[columns.clone()]) {
                *sum += d;
            }
        }
    });
}

fn check(width: usize, table: &[f32], ids: &[u32], rows: &[f32]) {
    assert!(
        width > 0 && rows.len() == ids.len() * width,
        "{} elements are not {} rows of {width}",
        rows.len(),
        ids.len()
    );
    let last = ids.iter().max().map_or(0, |&id| id as usize + 1);
    assert!(last * width <= table.len(), "id {last} is past the table's {} rows", table.len() / width);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_close, cases, noise};
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(cases(32))]

        #[test]
        fn scatter_is_the_transpose_of_gather(
            width in 1_usize..50,
            ids in prop::collection::vec(0_u32..7, 0..600),
            seed in any::<u64>(),
        ) {
            let (table, d_out) = (noise(seed, 7 * width), noise(!seed, ids.len() * width));
            let mut sums: Option<Vec<f32>> = None;
            for threads in [1, 2, 5] {
                let pool = Pool::new(threads);
                let mut out = vec![f32::NAN; d_out.len()];
                embedding_gather(&pool, width, &table, &ids, &mut out);
                let expected: Vec<f32> =
                    ids.iter().flat_map(|&id| table[id as usize * width..][..width].iter().copied()).collect();
                prop_assert_eq!(out, expected);

                let mut d_table = vec![1.0; table.len()];
                embedding_scatter_add(&pool, width, &d_out, &ids, &mut d_table);
                let mut expected = vec![1.0_f64; table.len()];
                for (&id, d) in ids.iter().zip(d_out.chunks_exact(width)) {
                    for (sum, &d) in expected[id as usize * width..].iter_mut().zip(d) {
                        *sum += f64::from(d);
                    }
                }
                assert_close(&d_table, &expected, 1e-5);
                prop_assert_eq!(&*sums.get_or_insert_with(|| d_table.clone()), &d_table);
            }
        }
    }

    #[test]
    #[should_panic(expected = "past the table")]
    fn an_id_past_the_table_is_refused() {
        embedding_gather(&Pool::new(1), 2, &[0.0; 6], &[3], &mut [0.0; 2]);
    }
}
