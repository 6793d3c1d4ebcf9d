//! Counter-based randomness: a sample's random numbers depend on what it is, never on when or beside whom it ran.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

/// Names one sample of one run. Its 32 bytes are the seed of a ChaCha8 stream of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SampleKey {
    /// The run's seed.
    pub seed: u64,
    /// The training step, or 0.
    pub step: u64,
    /// The prompt's index.
    pub prompt: u64,
    /// The sample's index within its prompt's group.
    pub sample: u64,
}

impl SampleKey {
    /// The random generator of this key, at its start.
    #[must_use]
    pub fn stream(self) -> ChaCha8Rng {
        let mut seed = [0; 32];
        for (bytes, word) in seed.chunks_exact_mut(8).zip([self.seed, self.step, self.prompt, self.sample]) {
            bytes.copy_from_slice(&word.to_le_bytes());
        }
        ChaCha8Rng::from_seed(seed)
    }

    /// The uniform number in [0, 1) that chooses the token at `position`, whatever was drawn before.
    #[must_use]
    pub fn uniform(self, position: u64) -> f64 {
        let mut stream = self.stream();
        stream.set_word_pos(u128::from(position) * 2);
        stream.random()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_independent_of_the_order_of_drawing() {
        let key = SampleKey { seed: 7, step: 1, prompt: 2, sample: 3 };
        let forward: Vec<f64> = (0..20).map(|t| key.uniform(t)).collect();
        let backward: Vec<f64> = (0..20).rev().map(|t| key.uniform(t)).collect();
        assert!(forward.iter().eq(backward.iter().rev()));
        let mut stream = key.stream();
        assert!(forward.iter().all(|&u| u == stream.random::<f64>()));
    }

    #[test]
    fn every_field_matters() {
        let key = SampleKey::default();
        let others = [
            SampleKey { seed: 1, ..key },
            SampleKey { step: 1, ..key },
            SampleKey { prompt: 1, ..key },
            SampleKey { sample: 1, ..key },
        ];
        for (i, a) in others.iter().enumerate() {
            assert_ne!(a.uniform(0), key.uniform(0));
            assert!(others[..i].iter().all(|b| b.uniform(0) != a.uniform(0)));
        }
    }
}
