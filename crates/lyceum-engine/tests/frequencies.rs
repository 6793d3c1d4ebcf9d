//! Sampled tokens are as frequent as their probabilities say.

use std::sync::Arc;

use lyceum_engine::{Generator, Request, Sampling, Stop};
use lyceum_kernels::{Pool, Precision};
use lyceum_nn::decoder::{KernelPolicy, Options};
use lyceum_nn::presets;
use lyceum_stats::{Draw, Purpose};
use lyceum_text::{ControlTokens, Tokenizer};

/// Over many samples the sum of [token was drawn] - p(token) stays within its noise, for every drawn token of the
/// first two positions, and the mean of -log p is the entropy.
#[test]
fn frequencies_match_probabilities() -> Result<(), Box<dyn std::error::Error>> {
    let control = ControlTokens { more: Vec::new(), ..ControlTokens::default() };
    let tokenizer = Tokenizer::bytes(&control)?;
    let Some(config) = presets::preset("tiny-0.3m", tokenizer.vocab_size()) else {
        return Err("preset".into());
    };
    let options = Options { precision: Precision::F32, ..Options::default() };
    let policy = KernelPolicy::random(config, options, Arc::new(Pool::new(2)), 3)?;
    let n = 4_000u64;
    let request = Request {
        prompt: vec![5, 6, 7],
        samples: (0..n).map(|sample| Draw { seed: 1, step: 1, prompt: 0, sample }).collect(),
        purpose: Purpose::Tokens,
        // A sharp distribution, as a trained model's is.
        sampling: Sampling { temperature: 0.05, ..Sampling::default() },
        stop: Stop { tokens: Vec::new(), strings: Vec::new(), max_new_tokens: 1 },
        choices: None,
        drawn: 0,
    };
    let answers = Generator::new(policy.decoder(), &tokenizer, 64).generate(&[request], &mut |_| {})?;
    let mut seen = std::collections::BTreeMap::<u32, (f64, f64)>::new();
    for answer in &answers[0] {
        let entry = seen.entry(answer.ids[0]).or_default();
        *entry = (entry.0 + 1.0, f64::from(answer.logp[0]).exp());
    }
    for (token, (count, p)) in seen {
        let noise = (n as f64 * p * (1.0 - p)).sqrt().max(1.0);
        assert!((count - n as f64 * p).abs() < 5.0 * noise, "token {token}: {count} of {n} at p = {p}");
    }
    Ok(())
}
