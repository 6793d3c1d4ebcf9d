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
