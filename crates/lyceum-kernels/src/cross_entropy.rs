//! Log-softmax statistics of rows of logits and their gradient: all that a language model's head needs, without a second
//! matrix of the size of the logits.

use crate::Pool;
use crate::rows::split_rows;
use crate::simd::{Kernel, Lanes, exp, run, steps};
use crate::softmax::maximum;

/// Reads off each row of `logits`, multiplied by `scale` (1 / temperature): the log of the sum of exponentials, the log-probability of
/// the row's target token and the entropy in nats.
///
/// `logits` is rows x vocabulary; `targets`, `lse`, `logp` and `entropy` are rows. A logit of negative infinity has probability 0.
///
/// # Panics
/// If the lengths do not fit together or a target is not in the vocabulary.
pub fn logit_statistics(
    pool: &Pool,
    logits: &[f32],
    scale: f32,
    targets: &[u32],
    lse: &mut [f32],
    logp: &mut [f32],
    entropy: &mut [f32],
) {
    let rows = targets.len();
    let vocabulary = vocabulary_of(logits, targets);
    assert!(lse.len() == rows && logp.len() == rows && entropy.len() == rows, "one statistic a row");
    split_rows(pool, rows, vocabulary, [lse, logp, entropy], |range, [lse, logp, entropy]| {
        for (i, row) in range.enumerate() {
            let logits = &logits[row * vocabulary..(row + 1) * vocabulary];
            (lse[i], entropy[i]) = run(pool.level(), Statistics { logits, scale });
            logp[i] = scale * logits[targets[row] as usize] - lse[i];
        }
    });
}

/// Replaces `logits` by the gradient with respect to them of a loss, given its derivatives by each row's log-probability and entropy.
///
/// `logits`, `scale` and `targets` are those of [`logit_statistics`], `lse` and `entropy` what it gave; `d_logp` and `d_entropy` are
/// rows, an empty slice standing for zeros. With z the scaled logits and p their softmax:
/// `d log p(t) / d z_j = [j = t] - p_j` and `d H / d z_j = -p_j (log p_j + H)`.
///
/// # Panics
/// If the lengths do not fit together or a target is not in the vocabulary.
pub fn logit_gradient(
    pool: &Pool,
    logits: &mut [f32],
    scale: f32,
    targets: &[u32],
    lse: &[f32],
    entropy: &[f32],
    d_logp: &[f32],
    d_entropy: &[f32],
) {
    let rows = targets.len();
    let vocabulary = vocabulary_of(logits, targets);
    assert!(lse.len() == rows && entropy.len() == rows, "one statistic a row");
    for d in [d_logp, d_entropy] {
        assert!(d.is_empty() || d.len() == rows, "one derivative a row, or none");
    }
    split_rows(pool, rows, vocabulary, [logits], |range, [logits]| {
        for (row, logits) in range.zip(logits.chunks_exact_mut(vocabulary)) {
            let d_logp = d_logp.get(row).copied().unwrap_or(0.0);
            let d_entropy = d_entropy.get(row).copied().unwrap_or(0.0);
            run(
                pool.level(),
                Gradient { logits, scale, lse: lse[row], entropy: entropy[row], d_logp, d_entropy },
            );
            logits[targets[row] as usize] += scale * d_logp;
        }
    });
}

fn vocabulary_of(logits: &[f32], targets: &[u32]) -> usize {
    let rows = targets.len();
    let vocabulary = logits.len().checked_div(rows).unwrap_or(0);
    assert_eq!(rows * vocabulary, logits.len(), "{} logits are not {rows} rows", logits.len());
    let last = targets.iter().max().map_or(0, |&target| target as usize + 1);
    assert!(last <= vocabulary, "target {last} is past the vocabulary of {vocabulary}");
    vocabulary
}

struct Statistics<'a> {
    logits: &'a [f32],
    scale: f32,
}

impl Kernel for Statistics<'_> {
    /// Log of the sum of exponentials, entropy.
    type Output = (f32, f32);

    #[inline(always)]
    fn run<V: Lanes>(self) -> (f32, f32) {
        let scale = V::splat(self.scale);
        let greatest = self.scale * maximum::<V>(self.logits);
        // Sums of e^(z - max) and of e^(z - max) (z - max). The floor keeps the second free of 0 * infinity.
        let (mut sum, mut dot) = (V::zero(), V::zero());
        for i in steps::<V>(self.logits.len()) {
            let z = V::load_or(&self.logits[i..], f32::NEG_INFINITY).mul_add(scale, V::splat(-greatest));
            let p = exp(z);
            sum += p;
            dot = p.mul_add(V::splat(FLOOR).max(z), dot);
        }
        let (sum, dot) = (sum.sum(), dot.sum());
        let log_sum = sum.ln();
        (greatest + log_sum, log_sum - dot / sum)
    }
}

/// Below this a term's exponential is 0.
const FLOOR: f32 = -104.0;

struct Gradient<'a> {
    logits: &'a mut [f32],
    scale: f32,
    lse: f32,
    entropy: f32,
    d_logp: f32,
    d_entropy: f32,
}

impl Kernel for Gradient<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Lanes>(self) {
        let (scale, lse) = (V::splat(self.scale), V::splat(-self.lse));
        let entropy = V::splat(self.d_entropy * self.scale);
        let constant = V::splat(self.scale * (self.d_logp + self.d_entropy * self.entropy));
        for i in steps::<V>(self.logits.len()) {
            let log_p = V::load(&self.logits[i..]).mul_add(scale, lse);
            let d = V::splat(FLOOR).max(log_p).mul_add(entropy, constant) * exp(log_p);
            (V::zero() - d).store(&mut self.logits[i..]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_close, assert_gradient, cases, noise, pools, widen};
    use proptest::prelude::*;

    /// The definition: log of the sum of exponentials, log-probability and entropy of each row.
    fn oracle(logits: &[f64], scale: f64, targets: &[u32]) -> [Vec<f64>; 3] {
        let rows = logits.chunks_exact(logits.len() / targets.len()).zip(targets);
        let statistics = rows.map(|(logits, &target)| {
            let greatest = logits.iter().copied().fold(f64::MIN, f64::max) * scale;
            let lse = greatest + logits.iter().map(|x| (scale * x - greatest).exp()).sum::<f64>().ln();
            let entropy = -logits.iter().map(|x| (scale * x - lse).exp() * (scale * x - lse)).sum::<f64>();
            [lse, scale * logits[target as usize] - lse, entropy]
        });
        let statistics: Vec<[f64; 3]> = statistics.collect();
        std::array::from_fn(|k| statistics.iter().map(|row| row[k]).collect())
    }

    fn statistics(pool: &Pool, logits: &[f32], scale: f32, targets: &[u32]) -> [Vec<f32>; 3] {
        let mut statistics: [Vec<f32>; 3] = std::array::from_fn(|_| vec![f32::NAN; targets.len()]);
        let [lse, logp, entropy] = &mut statistics;
        logit_statistics(pool, logits, scale, targets, lse, logp, entropy);
        statistics
    }

    proptest! {
        #![proptest_config(cases(32))]

        #[test]
        fn statistics_are_the_definition_and_their_gradient_its_gradient(
            rows in 1_usize..7,
            vocabulary in prop_oneof![1_usize..100, 4000_usize..4100],
            scale in 0.3_f32..3.0,
            with_entropy in any::<bool>(),
            seed in any::<u64>(),
        ) {
            let logits: Vec<f32> = noise(seed, rows * vocabulary).iter().map(|x| 4.0 * x).collect();
            let targets: Vec<u32> = (0..rows).map(|row| ((row * 7919) % vocabulary) as u32).collect();
            let d_logp = noise(seed ^ 1, rows);
            let d_entropy = if with_entropy { noise(seed ^ 2, rows) } else { Vec::new() };
            let expected = oracle(&widen(&logits), f64::from(scale), &targets);
            let loss = |logits: &[f64]| {
                let [_, logp, entropy] = oracle(logits, f64::from(scale), &targets);
                let of = |x: &[f64], d: &[f32]| x.iter().zip(d).map(|(x, &d)| x * f64::from(d)).sum::<f64>();
                of(&logp, &d_logp) + of(&entropy, &d_entropy)
            };
            for pool in pools() {
                let found = statistics(&pool, &logits, scale, &targets);
                for (found, expected) in found.iter().zip(&expected) {
                    assert_close(found, expected, 3e-6);
                }
                let [lse, _, entropy] = found;
                let mut d = logits.clone();
                logit_gradient(&pool, &mut d, scale, &targets, &lse, &entropy, &d_logp, &d_entropy);
                assert_gradient(loss, &logits, &d, 1e-5);
            }
        }
    }

    #[test]
    fn a_uniform_row_has_the_entropy_of_its_size() {
        for pool in pools() {
            let [lse, logp, entropy] = statistics(&pool, &[3.0; 8], 2.0, &[5]);
            assert_close(&lse, &[6.0 + 8.0_f64.ln()], 1e-6);
            assert_close(&logp, &[-8.0_f64.ln()], 1e-6);
            assert_close(&entropy, &[8.0_f64.ln()], 1e-6);
        }
    }

    #[test]
    fn forbidden_tokens_have_no_probability_and_no_gradient() {
        for pool in pools() {
            let logits = [0.0, f32::NEG_INFINITY, 0.0, 90.0, f32::NEG_INFINITY];
            let [lse, logp, entropy] = statistics(&pool, &logits, 1.0, &[3]);
            assert_eq!((lse[0], logp[0]), (90.0, 0.0));
            assert!(entropy[0].abs() < 1e-30, "{}", entropy[0]);
            let mut d = logits;
            logit_gradient(&pool, &mut d, 1.0, &[3], &lse, &entropy, &[1.0], &[1.0]);
            assert!(d.iter().all(|d| d.abs() < 1e-30), "{d:?}");
        }
    }

    #[test]
    fn rows_without_derivatives_get_none() {
        let (pool, mut d) = (Pool::new(1), noise(1, 10));
        logit_gradient(&pool, &mut d, 1.0, &[0, 1], &[3.0; 2], &[1.0; 2], &[], &[]);
        assert!(d.iter().all(|&d| d == 0.0));
    }

    #[test]
    #[should_panic(expected = "past the vocabulary")]
    fn a_target_past_the_vocabulary_is_refused() {
        statistics(&Pool::new(1), &[0.0; 6], 1.0, &[0, 3]);
    }
}
