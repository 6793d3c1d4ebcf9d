//! Random weights to train from scratch.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Standard deviation of matrices, as in GPT-2 and Llama.
const DEVIATION: f32 = 0.02;

/// The generator of a seed's weights: the same numbers on every machine.
pub(crate) fn generator(seed: u64) -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(seed)
}

/// Draws the tensor called `name`: norms one, biases zero, matrices normal with deviation 0.02, and those that write
/// to the residual stream smaller by `sqrt(2 layers)` (Radford et al. 2019, section 2.3).
pub fn tensor(name: &str, layers: usize, random: &mut ChaCha8Rng, out: &mut [f32]) {
    if name.ends_with(".bias") {
        return out.fill(0.0);
    }
    if name.ends_with("norm.weight") {
        return out.fill(1.0);
    }
    let writes_residual = name.ends_with("o_proj.weight") || name.ends_with("down_proj.weight");
    let deviation = if writes_residual { DEVIATION / (2.0 * layers as f32).sqrt() } else { DEVIATION };
    for pair in out.chunks_mut(2) {
        // Box and Muller's transform: two uniforms make two normals. 1 - u is never 0.
        let radius = deviation * (-2.0 * (1.0 - random.random::<f32>()).ln()).sqrt();
        let (sine, cosine) = (std::f32::consts::TAU * random.random::<f32>()).sin_cos();
        pair[0] = radius * cosine;
        if let Some(second) = pair.get_mut(1) {
            *second = radius * sine;
        }
    }
}
