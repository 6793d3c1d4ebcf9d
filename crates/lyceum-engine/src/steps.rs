//! Reasoning steps of a completion, and a process reward model's judgement of them (PURE, arXiv 2504.15275).
//!
//! A process reward model is a decoder with one more head. The paper's has two logits, wrong and right, and scores a
//! step p(right) - p(wrong); ours has one, their difference, which is the same family of functions: the score is
//! tanh(logit / 2).

use lyceum_nn::decoder::KernelPolicy;
use lyceum_nn::policy::{Batch, Policy, Target};
use lyceum_text::{SpecialTokens, Tokenizer};

use crate::{Error, Result};

/// Where the steps of `ids` end: one past each step's last token. A step ends at a token after which its text ends with
/// `separator` (so that a separator spelled by two tokens ends one too), and at the last token.
///
/// # Errors
/// [`Error::Text`] if the tokenizer refuses an id.
pub fn step_ends(tokenizer: &Tokenizer, ids: &[u32], separator: &str) -> Result<Vec<usize>> {
    let mut ends = Vec::new();
    let mut text = String::new();
    for (position, &id) in ids.iter().enumerate() {
        text += &tokenizer.decode(&[id], SpecialTokens::Skip)?;
        if text.ends_with(separator) || position + 1 == ids.len() {
            ends.push(position + 1);
            text.clear();
        }
    }
    Ok(ends)
}

/// Tokens with the places where their steps end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Steps {
    /// The prompt and what follows it.
    pub ids: Vec<u32>,
    /// One past the last token of each step, rising.
    pub ends: Vec<u32>,
}

impl Steps {
    /// Packs sequences into a batch with a target at the last token of every step: a model's value there judges the
    /// step. The predicted token is of no account.
    #[must_use]
    pub fn pack(sequences: &[&Self]) -> Batch {
        // What follows the last step is not looked at.
        let judged = sequences.iter().filter_map(|steps| Some((steps, *steps.ends.last()? as usize)));
        let (owners, rows): (Vec<&Self>, Vec<&[u32]>) =
            judged.map(|(steps, end)| (*steps, &steps.ids[..end])).unzip();
        let mut batch = Batch::of_sequences(&rows);
        let ends = owners.iter().zip(&batch.segments).flat_map(|(steps, segment)| {
            steps.ends.iter().map(|&end| Target { row: segment.start as u32 + end - 1, token: 0 })
        });
        batch.targets = ends.collect();
        batch
    }

    /// Cuts sequences into runs of at most `rows` tokens (one sequence at least): (first, one past the last).
    #[must_use]
    pub fn chunks(sequences: &[&Self], rows: usize) -> Vec<(usize, usize)> {
        let mut chunks = Vec::new();
        let (mut from, mut sum) = (0, 0);
        for (at, steps) in sequences.iter().enumerate() {
            if at > from && sum + steps.ids.len() > rows {
                chunks.push((from, at));
                (from, sum) = (at, 0);
            }
            sum += steps.ids.len();
        }
        if from < sequences.len() {
            chunks.push((from, sequences.len()));
        }
        chunks
    }
}

/// The score of a step, p(right) - p(wrong) in [-1, 1], from the head's logit log(p(right) / p(wrong)).
#[must_use]
pub fn step_score(logit: f32) -> f32 {
    (0.5 * logit).tanh()
}

/// The model's score of every step of every sequence. At most `rows` tokens are computed at once.
///
/// # Errors
/// [`Error::Model`] for a model without a value head's output or a sequence that does not fit its context.
pub fn judge(model: &KernelPolicy, sequences: &[&Steps], rows: usize) -> Result<Vec<Vec<f32>>> {
    let mut scores = Vec::with_capacity(sequences.len());
    for (from, to) in Steps::chunks(sequences, rows) {
        let part = &sequences[from..to];
        let batch = Steps::pack(part);
        let mut logits = if batch.targets.is_empty() { Vec::new() } else { model.evaluate(&batch)?.value };
        if logits.len() != batch.targets.len() {
            let cause = "the model has no head that judges steps; train one with a recipe's table [labels]";
            return Err(Error::Model(lyceum_nn::Error::Input(cause.into())));
        }
        for steps in part {
            let rest = logits.split_off(steps.ends.len());
            scores.push(logits.into_iter().map(step_score).collect());
            logits = rest;
        }
    }
    Ok(scores)
}

#[cfg(test)]
mod tests {
    use lyceum_nn::policy::Input;
    use lyceum_text::ControlTokens;
    use proptest::prelude::*;

    use super::*;

    fn bytes() -> Tokenizer {
        Tokenizer::bytes(&ControlTokens::default()).unwrap()
    }

    #[test]
    fn steps_end_at_separators_and_at_the_last_token() {
        let tokenizer = bytes();
        let ends = |text: &str, separator: &str| {
            step_ends(&tokenizer, &tokenizer.encode(text).unwrap(), separator).unwrap()
        };
        assert_eq!(ends("1+1=2\nanswer 2", "\n"), [6, 14]);
        assert_eq!(ends("ab\n\ncd\n\n", "\n\n"), [4, 8]);
        assert_eq!(ends("one giant step", "\n"), [14]);
        assert_eq!(ends("", "\n"), Vec::<usize>::new());
    }

    #[test]
    fn a_score_is_the_difference_of_two_probabilities() {
        for (wrong, right) in [(0.3f32, 1.2f32), (-2.0, 0.5), (4.0, -1.0)] {
            let z = wrong.exp() + right.exp();
            assert!((step_score(right - wrong) - (right.exp() - wrong.exp()) / z).abs() < 1e-6);
        }
    }

    proptest! {
        #[test]
        fn packed_targets_stand_at_the_last_token_of_each_step(
            lengths in prop::collection::vec(prop::collection::vec(1u32..6, 0..5), 1..6), rows in 1usize..30,
        ) {
            let owned: Vec<Steps> = lengths.iter().enumerate().map(|(n, steps)| {
                let ends: Vec<u32> = steps.iter().scan(1, |end, len| { *end += len; Some(*end) }).collect();
                let len = ends.last().copied().unwrap_or(1);
                Steps { ids: (0..len).map(|i| n as u32 * 100 + i).collect(), ends }
            }).collect();
            let all: Vec<&Steps> = owned.iter().collect();
            let mut seen = 0;
            for (from, to) in Steps::chunks(&all, rows) {
                prop_assert_eq!(from, seen);
                let batch = Steps::pack(&all[from..to]);
                let Input::Ids(ids) = &batch.input else { panic!("ids") };
                let tokens: Vec<u32> = batch.targets.iter().map(|t| ids[t.row as usize]).collect();
                let expected: Vec<u32> =
                    all[from..to].iter().flat_map(|s| s.ends.iter().map(|&e| s.ids[e as usize - 1])).collect();
                prop_assert_eq!(tokens, expected);
                seen = to;
            }
            prop_assert_eq!(seen, all.len());
        }
    }
}
