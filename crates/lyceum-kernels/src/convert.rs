use half::bf16;

use crate::Pool;

/// Rounds to bf16, to nearest with ties to even.
///
/// # Panics
/// If the lengths differ.
pub fn to_bf16(pool: &Pool, from: &[f32], to: &mut [bf16]) {
    assert_eq!(from.len(), to.len(), "as many elements out as in");
    pool.split(to, 1, |first, part| {
        for (to, from) in part.iter_mut().zip(&from[first..]) {
            *to = bf16::from_f32(*from);
        }
    });
}

/// Widens bf16 to f32, exactly.
///
/// # Panics
/// If the lengths differ.
pub fn to_f32(pool: &Pool, from: &[bf16], to: &mut [f32]) {
    assert_eq!(from.len(), to.len(), "as many elements out as in");
    pool.split(to, 1, |first, part| {
        for (to, from) in part.iter_mut().zip(&from[first..]) {
            *to = from.to_f32();
        }
    });
}
