//! Choosing one token from a row of logits.

use lyceum_kernels::{Level, exp_weights, row_maximum};
use serde::{Deserialize, Serialize};

/// How tokens are chosen. The defaults sample from the model's own distribution.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sampling {
    /// Logits are divided by this; 0 means greedy.
    pub temperature: f32,
    /// Keep only the k most probable tokens; 0 keeps all.
    pub top_k: usize,
    /// Keep the smallest set of most probable tokens whose probabilities reach this sum; 1 keeps all.
    pub top_p: f32,
    /// Drop tokens less probable than this share of the most probable one; 0 keeps all.
    pub min_p: f32,
    /// Logits of tokens already in the context are divided (when positive) or multiplied (when negative) by this
    /// (CTRL, arXiv 1909.05858); 1 leaves them.
    pub repetition_penalty: f32,
}

impl Default for Sampling {
    fn default() -> Self {
        Self { temperature: 1.0, top_k: 0, top_p: 1.0, min_p: 0.0, repetition_penalty: 1.0 }
    }
}

impl Sampling {
    /// Always the most probable token.
    #[must_use]
    pub fn greedy() -> Self {
        Self { temperature: 0.0, ..Self::default() }
    }

    /// Whether no token of the vocabulary is cut off.
    #[must_use]
    pub fn keeps_all(&self) -> bool {
        self.top_k == 0 && self.top_p >= 1.0 && self.min_p <= 0.0
    }

    /// The first setting that makes no sense, in words.
    #[must_use]
    pub fn problem(&self) -> Option<String> {
        let bad = |name: &str, value: f32, range: &str| Some(format!("{name} = {value} is outside {range}"));
        if !self.temperature.is_finite() || self.temperature < 0.0 {
            return bad("temperature", self.temperature, "[0, inf)");
        }
        if !(self.top_p > 0.0 && self.top_p <= 1.0) {
            return bad("top_p", self.top_p, "(0, 1]");
        }
        if !(0.0..=1.0).contains(&self.min_p) {
            return bad("min_p", self.min_p, "[0, 1]");
        }
        if !(self.repetition_penalty.is_finite() && self.repetition_penalty > 0.0) {
            return bad("repetition_penalty", self.repetition_penalty, "(0, inf)");
        }
        None
    }
}

/// A drawn token.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Drawn {
    /// Its id.
    pub token: u32,
    /// Its log-probability under the whole distribution at the temperature (at 1 when greedy): what a trainer
    /// recomputes.
    pub logp: f32,
    /// Log of the probability mass that truncation kept; the token was drawn with log-probability `logp - kept`.
    pub kept: f32,
}

/// Draws a token from a row of logits, which is overwritten.
///
/// `history` holds the tokens that the repetition penalty looks at, `allowed` the only tokens that may be drawn (all
/// when `None`), `uniform` a number in [0, 1). Ties go to the lower id, so the draw is a pure function of its inputs.
/// A row that holds NaN or has no finite maximum gives `None`: that is a broken model, not a sample.
#[must_use]
pub fn draw(
    level: Level,
    logits: &mut [f32],
    sampling: &Sampling,
    history: &[u32],
    allowed: Option<&[u32]>,
    uniform: f64,
) -> Option<Drawn> {
    penalise(logits, sampling.repetition_penalty, history);
    let greedy = sampling.temperature == 0.0;
    let scale = if greedy { 1.0 } else { 1.0 / sampling.temperature };
    let top = row_maximum(level, logits);
    let best = match allowed {
        None => logits.iter().position(|&x| x == top)? as u32,
        Some(set) => best_of(logits, set)?,
    };
    // From here `logits` holds weights exp(scale (logit - top)).
    let sum = exp_weights(level, logits, scale, top);
    if !(top.is_finite() && sum.is_finite()) {
        return None;
    }
    let drawn = |token: u32, mass: f32| Drawn {
        token,
        logp: (logits[token as usize] / sum).ln(),
        kept: (mass / sum).ln().min(0.0),
    };
    if allowed.is_none() && (greedy || sampling.keeps_all()) {
        let token = if greedy { best } else { inverse_cdf(logits, uniform * f64::from(sum)) as u32 };
        return Some(drawn(token, sum));
    }
    let candidates = candidates(logits, sampling, allowed, sum);
    let weights: Vec<f32> = candidates.iter().map(|&t| logits[t as usize]).collect();
    let mass: f32 = weights.iter().sum();
    let token = if greedy { best } else { candidates[inverse_cdf(&weights, uniform * f64::from(mass))] };
    Some(drawn(token, mass))
}

fn penalise(logits: &mut [f32], penalty: f32, history: &[u32]) {
    if penalty == 1.0 {
        return;
    }
    let mut seen: Vec<u32> = history.to_vec();
    seen.sort_unstable();
    seen.dedup();
    for token in seen {
        if let Some(x) = logits.get_mut(token as usize) {
            *x = if *x > 0.0 { *x / penalty } else { *x * penalty };
        }
    }
}

fn best_of(row: &[f32], set: &[u32]) -> Option<u32> {
    let known = set.iter().copied().filter(|&t| row.get(t as usize).is_some_and(|x| x.is_finite()));
    known.max_by(|&a, &b| row[a as usize].total_cmp(&row[b as usize]).then(b.cmp(&a)))
}

/// The first index at which the running sum of weights exceeds `threshold`; the last one of positive weight when
/// rounding leaves the sum short.
fn inverse_cdf(weights: &[f32], threshold: f64) -> usize {
    const BLOCK: usize = 256;
    let (mut before, mut block_start, mut base) = (0.0, 0, 0.0);
    for (b, block) in weights.chunks(BLOCK).enumerate() {
        let mut lanes = [0f32; 8];
        let (chunks, rest) = block.as_chunks::<8>();
        for chunk in chunks {
            for (lane, &w) in lanes.iter_mut().zip(chunk) {
                *lane += w;
            }
        }
        let sum = lanes.iter().chain(rest).map(|&w| f64::from(w)).sum::<f64>();
        if sum > 0.0 {
            (block_start, base) = (b * BLOCK, before);
        }
        before += sum;
        if before > threshold {
            break;
        }
    }
    let mut running = base;
    let mut chosen = block_start;
    for (i, &w) in weights.iter().enumerate().skip(block_start).take(BLOCK) {
        if w > 0.0 {
            chosen = i;
            running += f64::from(w);
            if running > threshold {
                break;
            }
        }
    }
    chosen
}

/// The tokens that truncation leaves, most probable first, from weights that sum to `sum`.
fn candidates(weights: &[f32], sampling: &Sampling, allowed: Option<&[u32]>, sum: f32) -> Vec<u32> {
    let by_weight = |a: &u32, b: &u32| weights[*b as usize].total_cmp(&weights[*a as usize]).then(a.cmp(b));
    let mut tokens: Vec<u32> = match allowed {
        Some(set) => set.iter().copied().filter(|&t| (t as usize) < weights.len()).collect(),
        None => (0..weights.len() as u32).collect(),
    };
    // The filters follow in the usual order, each on what the one before left: k, p, then the share of the best.
    if sampling.top_k > 0 && sampling.top_k < tokens.len() {
        tokens.select_nth_unstable_by(sampling.top_k - 1, by_weight);
        tokens.truncate(sampling.top_k);
    }
    tokens.sort_unstable_by(by_weight);
    tokens.dedup();
    if sampling.top_p < 1.0 {
        let whole: f32 = if sampling.top_k > 0 || allowed.is_some() {
            tokens.iter().map(|&t| weights[t as usize]).sum()
        } else {
            sum
        };
        let mut reached = 0.0;
        let needed = tokens.iter().take_while(|&&t| {
            let more = reached < sampling.top_p * whole;
            reached += weights[t as usize];
            more
        });
        let keep = needed.count().max(1);
        tokens.truncate(keep);
    }
    if let (true, Some(&first)) = (sampling.min_p > 0.0, tokens.first()) {
        let floor = sampling.min_p * weights[first as usize];
        tokens.retain(|&t| weights[t as usize] >= floor);
    }
    tokens
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sample(logits: &[f32], sampling: &Sampling, uniform: f64) -> Drawn {
        draw(Level::Portable, &mut logits.to_vec(), sampling, &[], None, uniform).unwrap()
    }

    #[test]
    fn greedy_takes_the_first_of_equals_and_its_probability_at_temperature_one() {
        let drawn = sample(&[0.0, 1.0, 1.0], &Sampling::greedy(), 0.9);
        assert_eq!(drawn.token, 1);
        let expected = 1.0f32.exp().ln() - (1.0 + 2.0 * 1.0f32.exp()).ln();
        assert!((drawn.logp - expected).abs() < 1e-6);
    }

    #[test]
    fn truncation_is_recorded() {
        let logits = [0.5f32.ln(), 0.3f32.ln(), 0.15f32.ln(), 0.05f32.ln()];
        let kept = |s: Sampling| sample(&logits, &s, 0.0).kept.exp();
        assert!((kept(Sampling { top_k: 2, ..Sampling::default() }) - 0.8).abs() < 1e-5);
        assert!((kept(Sampling { top_p: 0.7, ..Sampling::default() }) - 0.8).abs() < 1e-5);
        assert!((kept(Sampling { top_p: 0.4, ..Sampling::default() }) - 0.5).abs() < 1e-5);
        assert!((kept(Sampling { min_p: 0.25, ..Sampling::default() }) - 0.95).abs() < 1e-5);
        assert_eq!(kept(Sampling::default()), 1.0);
    }

    #[test]
    fn the_repetition_penalty_pushes_down_on_either_side_of_zero() {
        let penalty = Sampling { repetition_penalty: 2.0, ..Sampling::greedy() };
        let token = |logits: [f32; 2], history: &[u32]| {
            draw(Level::Portable, &mut logits.clone(), &penalty, history, None, 0.0).unwrap().token
        };
        assert_eq!((token([1.0, 0.9], &[]), token([1.0, 0.9], &[0, 0])), (0, 1));
        assert_eq!((token([-1.0, -1.5], &[]), token([-1.0, -1.5], &[0])), (0, 1));
    }

    #[test]
    fn a_broken_row_is_no_sample() {
        for row in [[f32::NAN, 1.0], [f32::INFINITY, 1.0], [f32::NEG_INFINITY; 2]] {
            assert_eq!(draw(Level::Portable, &mut row.clone(), &Sampling::default(), &[], None, 0.5), None);
        }
    }

    #[test]
    fn only_allowed_tokens_are_drawn() {
        let drawn =
            draw(Level::Portable, &mut [5.0, 1.0, 2.0], &Sampling::greedy(), &[], Some(&[1, 2, 77]), 0.0);
        assert_eq!(drawn.map(|d| d.token), Some(2));
    }

    #[test]
    fn frequencies_follow_the_distribution() {
        let logits: Vec<f32> = (0..300).map(|i| -(i as f32) / 40.0).collect();
        let total: f64 = logits.iter().map(|&x| f64::from(x).exp()).sum();
        let n = 20_000;
        let mut counts = vec![0usize; logits.len()];
        for i in 0..n {
            counts[sample(&logits, &Sampling::default(), (i as f64 + 0.5) / n as f64).token as usize] += 1;
        }
        for (count, logit) in counts.iter().zip(&logits) {
            let expected = n as f64 * f64::from(*logit).exp() / total;
            assert!((*count as f64 - expected).abs() < 2.0, "{count} {expected}");
        }
    }

    proptest! {
        #[test]
        fn a_drawn_token_is_a_candidate_and_its_log_probability_is_exact(
            logits in prop::collection::vec(-20f32..20.0, 1..700),
            temperature in 0.2f32..2.0, top_k in 0usize..9, top_p in 0.1f32..=1.0, min_p in 0f32..0.5, uniform in 0f64..1.0,
        ) {
            let sampling = Sampling { temperature, top_k, top_p, min_p, repetition_penalty: 1.0 };
            let drawn = sample(&logits, &sampling, uniform);
            let lse = logits.iter().map(|&x| (f64::from(x) / f64::from(temperature)).exp()).sum::<f64>().ln();
            let expected = f64::from(logits[drawn.token as usize]) / f64::from(temperature) - lse;
            prop_assert!((f64::from(drawn.logp) - expected).abs() < 1e-3, "{} {expected}", drawn.logp);
            prop_assert!(drawn.kept <= 0.0);
            if top_k > 0 {
                let better = logits.iter().filter(|&&x| x > logits[drawn.token as usize]).count();
                prop_assert!(better < top_k);
            }
        }

        #[test]
        fn settings_that_keep_all_equal_no_truncation(logits in prop::collection::vec(-5f32..5.0, 1..100), uniform in 0f64..1.0) {
            let all = Sampling { top_k: logits.len(), ..Sampling::default() };
            prop_assert_eq!(sample(&logits, &all, uniform).kept.abs() < 1e-5, true);
        }
    }
}
