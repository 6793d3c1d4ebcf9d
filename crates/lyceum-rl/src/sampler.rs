//! Which problems come next.

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

/// The problems of draws `first..first + count` when `total` problems are visited in a fresh random order every
/// epoch. A pure function: the data cursor of a run is the single number `first`.
///
/// ```
/// use lyceum_rl::sampler::shuffled;
/// let mut epoch = shuffled(7, 5, 0, 5);
/// epoch.sort();
/// assert_eq!(epoch, [0, 1, 2, 3, 4]);
/// ```
#[must_use]
pub fn shuffled(seed: u64, total: usize, first: usize, count: usize) -> Vec<usize> {
    let mut out = Vec::with_capacity(count);
    let mut order = Vec::new();
    let mut epoch_of_order = None;
    for draw in first..first + count {
        if total == 0 {
            break;
        }
        let epoch = draw / total;
        if epoch_of_order != Some(epoch) {
            order = (0..total).collect();
            let mut key = [0; 32];
            key[..8].copy_from_slice(&seed.to_le_bytes());
            key[8..16].copy_from_slice(&(epoch as u64).to_le_bytes());
            order.shuffle(&mut ChaCha8Rng::from_seed(key));
            epoch_of_order = Some(epoch);
        }
        out.push(order[draw % total]);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_cursor_can_stop_anywhere(seed: u64, total in 1usize..40, first in 0usize..100, cut in 0usize..30, rest in 0usize..30) {
            let whole = shuffled(seed, total, first, cut + rest);
            let mut parts = shuffled(seed, total, first, cut);
            parts.extend(shuffled(seed, total, first + cut, rest));
            prop_assert_eq!(whole, parts);
        }

        #[test]
        fn every_epoch_visits_every_problem_once(seed: u64, total in 1usize..40, epoch in 0usize..4) {
            let mut visited = shuffled(seed, total, epoch * total, total);
            visited.sort_unstable();
            prop_assert_eq!(visited, (0..total).collect::<Vec<_>>());
        }
    }
}
