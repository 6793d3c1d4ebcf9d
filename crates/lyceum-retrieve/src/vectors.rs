//! Files of vectors: a magic, width and count, rows of f32 (little-endian), and the SHA-256 of all that.

use std::path::Path;

use lyceum_kernels::{Mat, Packed, Pool, Precision, gemm_packed};
use sha2::{Digest, Sha256};

use crate::{Error, Result};

const MAGIC: &[u8; 8] = b"lycvec01";
const HEAD: usize = 24;
const HASH: usize = 32;

/// Writes a file: whole or not at all.
pub fn write(path: &Path, width: usize, rows: &[f32]) -> Result<()> {
    let mut bytes = Vec::with_capacity(HEAD + rows.len() * 4 + HASH);
    bytes.extend(MAGIC);
    bytes.extend((width as u64).to_le_bytes());
    bytes.extend(((rows.len() / width.max(1)) as u64).to_le_bytes());
    rows.iter().for_each(|x| bytes.extend(x.to_le_bytes()));
    let hash = Sha256::digest(&bytes);
    bytes.extend(hash);
    Ok(lyceum_run::write_file(path, &bytes)?)
}

/// Reads a file of `count` rows of `width`.
pub fn read(path: &Path, width: usize, count: usize) -> Result<Vec<f32>> {
    let bytes = std::fs::read(path).map_err(|source| Error::Io {
        doing: "read",
        path: path.to_path_buf(),
        source,
    })?;
    let damaged = |problem: &str| Error::Index {
        path: path.to_path_buf(),
        problem: format!("{problem}; build the index again from its corpus"),
    };
    let expected =
        width.checked_mul(count).and_then(|n| n.checked_mul(4)).and_then(|n| n.checked_add(HEAD + HASH));
    if Some(bytes.len()) != expected || &bytes[..8] != MAGIC {
        return Err(damaged("is not the file of vectors that the index wrote"));
    }
    let (body, hash) = bytes.split_at(bytes.len() - HASH);
    if Sha256::digest(body).as_slice() != hash {
        return Err(damaged("is damaged (its SHA-256 does not fit)"));
    }
    let number = |four: &[u8]| f32::from_le_bytes([four[0], four[1], four[2], four[3]]);
    Ok(body[HEAD..].chunks_exact(4).map(number).collect())
}

/// Rows of one block: a block's scores of a batch of queries stay small.
const BLOCK: usize = 16_384;

/// All vectors of an index in memory, packed for products.
pub struct Vectors {
    width: usize,
    blocks: Vec<Packed>,
}

impl Vectors {
    /// Packs rows.
    pub fn new(pool: &Pool, width: usize, rows: &[f32]) -> Self {
        let pack =
            |block: &[f32]| Packed::pack(pool, Precision::F32, Mat::f32(block, block.len() / width, width));
        Self { width, blocks: rows.chunks(BLOCK * width).map(pack).collect() }
    }

    /// The best `k` living rows for each query vector, best first, equal scores by row: exact, every row is looked at.
    pub fn search(&self, pool: &Pool, queries: &[f32], k: usize, alive: &[bool]) -> Vec<Vec<(usize, f32)>> {
        let count = queries.len() / self.width;
        let mut best: Vec<Vec<(usize, f32)>> = vec![Vec::new(); count];
        let mut scores = Vec::new();
        let mut first = 0;
        for block in &self.blocks {
            let rows = block.rows();
            scores.resize(count * rows, 0.0);
            gemm_packed(pool, Mat::f32(queries, count, self.width), block, &mut scores, rows, false);
            for (scores, best) in scores.chunks_exact(rows).zip(&mut best) {
                // What the k best so far would push out again is not even looked at.
                let bar = if best.len() == k {
                    best.last().map_or(f32::MIN, |last| last.1)
                } else {
                    f32::NEG_INFINITY
                };
                let living =
                    scores.iter().enumerate().filter(|&(row, &score)| score > bar && alive[first + row]);
                best.extend(living.map(|(row, &score)| (first + row, score)));
                if best.len() > k {
                    best.select_nth_unstable_by(k, order);
                    best.truncate(k);
                }
                best.sort_unstable_by(order);
            }
            first += rows;
        }
        best
    }
}

fn order(a: &(usize, f32), b: &(usize, f32)) -> std::cmp::Ordering {
    b.1.total_cmp(&a.1).then(a.0.cmp(&b.0))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn damage_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("v");
        write(&path, 2, &[1.0, 2.0, 3.0, 4.0]).unwrap();
        assert_eq!(read(&path, 2, 2).unwrap(), [1.0, 2.0, 3.0, 4.0]);
        assert!(read(&path, 2, 3).is_err() && read(&path, usize::MAX, 3).is_err());
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[30] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        assert!(read(&path, 2, 2).unwrap_err().to_string().contains("damaged"));
    }

    proptest! {
        #[test]
        fn search_is_exact(rows in prop::collection::vec(-3i8..3, 8..200), k in 1usize..9, dead in 0usize..4) {
            let rows: Vec<f32> = rows.chunks_exact(4).flatten().map(|&x| f32::from(x)).collect();
            let pool = Pool::new(1);
            let query = [1.0, -0.5, 0.25, 2.0];
            let count = rows.len() / 4;
            let alive: Vec<bool> = (0..count).map(|row| row % 4 != dead).collect();
            let found = Vectors::new(&pool, 4, &rows).search(&pool, &query, k, &alive).remove(0);
            let score = |row: usize| (0..4).map(|i| rows[row * 4 + i] * query[i]).sum::<f32>();
            let mut slow: Vec<(usize, f32)> = (0..count).filter(|&r| alive[r]).map(|r| (r, score(r))).collect();
            slow.sort_by(order);
            slow.truncate(k);
            prop_assert_eq!(found, slow);
        }
    }
}
