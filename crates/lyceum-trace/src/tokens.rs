use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// Where a token, or a part of a call, came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// Given to the model: system text, question, history, a replayed prefix.
    Prompt,
    /// Chosen by the model: the only tokens with a behaviour log-probability.
    Sampled,
    /// Text of a tool, a document, an environment.
    Tool,
    /// Put into the model's mouth: template tokens between turns, a forced answer tag.
    Forced,
}

/// A sequence with one value a token, held as (value, count) runs: in JSON `[["prompt",40],["sampled",12]]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Runs<T>(Vec<(T, u32)>);

impl<T> Default for Runs<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: Copy + PartialEq> Runs<T> {
    /// The empty sequence.
    #[must_use]
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Appends `count` times `value`, joining it to the last run where equal.
    pub fn push(&mut self, value: T, count: u32) {
        if count == 0 {
            return;
        }
        match self.0.last_mut() {
            Some((last, run)) if *last == value && run.checked_add(count).is_some() => *run += count,
            _ => self.0.push((value, count)),
        }
    }

    /// Length of the sequence in tokens.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.0.iter().map(|&(_, count)| u64::from(count)).sum()
    }

    /// Whether it holds no token.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The runs, as they stand in JSON.
    #[must_use]
    pub fn runs(&self) -> &[(T, u32)] {
        &self.0
    }

    /// One value a token.
    pub fn iter(&self) -> impl Iterator<Item = T> + '_ {
        self.0.iter().flat_map(|&(value, count)| std::iter::repeat_n(value, count as usize))
    }
}

impl<T: Copy + PartialEq> FromIterator<T> for Runs<T> {
    fn from_iter<I: IntoIterator<Item = T>>(values: I) -> Self {
        let mut runs = Self::new();
        for value in values {
            runs.push(value, 1);
        }
        runs
    }
}

/// How tokens were drawn: the truncation of the distribution in force at sampling.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sampling {
    /// Logits were divided by this; 0 is greedy.
    pub temperature: f32,
    /// Only the k likeliest tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top_k: Option<u32>,
    /// Only the smallest set of likeliest tokens with at least this mass.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top_p: Option<f32>,
    /// Only tokens at least this times as likely as the likeliest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_p: Option<f32>,
    /// Logits of tokens already present were divided (positive) or multiplied (negative) by this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repetition_penalty: Option<f32>,
}

/// The exact tokens of one call, prompt and completion in one sequence: what training needs and text can't give.
///
/// Turn n+1 continues the ids of turn n; nothing is tokenised twice.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TokenRecord {
    /// Token ids in order.
    pub ids: Vec<u32>,
    /// Where each token came from.
    pub source: Runs<Source>,
    /// Weight of each token in the loss; 0 for what the model did not choose.
    pub weight: Runs<f32>,
    /// Behaviour log-probability (nats) of each **sampled** token in order, at `sampling.temperature`, over the
    /// whole vocabulary: what a forward pass of the trainer must reproduce.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub logp: Vec<f32>,
    /// Ends of the reasoning steps: index one past each step's last token, rising.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<u32>,
    /// Ends of the turns: index one past each turn's last token, rising.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub turns: Vec<u32>,
    /// How the sampled tokens were drawn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sampling: Option<Sampling>,
}

impl TokenRecord {
    /// Appends tokens the model did not choose, with loss weight 0.
    pub fn push_given(&mut self, source: Source, ids: &[u32]) {
        debug_assert!(source != Source::Sampled, "sampled tokens carry a log-probability: push_sampled");
        self.ids.extend_from_slice(ids);
        let count = u32::try_from(ids.len()).unwrap_or(u32::MAX);
        self.source.push(source, count);
        self.weight.push(0.0, count);
    }

    /// Appends one sampled token with its behaviour log-probability and loss weight 1.
    pub fn push_sampled(&mut self, id: u32, logp: f32) {
        self.ids.push(id);
        self.source.push(Source::Sampled, 1);
        self.weight.push(1.0, 1);
        self.logp.push(logp);
    }

    /// Ends a reasoning step after the last token pushed.
    pub fn end_step(&mut self) {
        self.steps.push(u32::try_from(self.ids.len()).unwrap_or(u32::MAX));
    }

    /// Ends a turn after the last token pushed.
    pub fn end_turn(&mut self) {
        self.turns.push(u32::try_from(self.ids.len()).unwrap_or(u32::MAX));
    }

    /// Behaviour log-probabilities laid along all tokens; `None` where the model did not choose.
    pub fn logp_by_token(&self) -> impl Iterator<Item = Option<f32>> + '_ {
        let mut logp = self.logp.iter().copied();
        self.source.iter().map(move |source| if source == Source::Sampled { logp.next() } else { None })
    }

    /// Checks that all parts speak of the same tokens.
    ///
    /// # Errors
    /// [`Error::Invalid`] with the first contradiction found.
    pub fn validate(&self) -> Result<()> {
        let length = self.ids.len() as u64;
        let agree = |what: &str, found: u64, expected: u64| {
            if found == expected {
                Ok(())
            } else {
                Err(Error::Invalid(format!("{what} covers {found} tokens of {expected}")))
            }
        };
        agree("source", self.source.len(), length)?;
        agree("weight", self.weight.len(), length)?;
        let sampled = self
            .source
            .runs()
            .iter()
            .filter(|run| run.0 == Source::Sampled)
            .map(|run| u64::from(run.1))
            .sum();
        agree("logp", self.logp.len() as u64, sampled)?;
        if let Some(bad) = self.logp.iter().find(|logp| !logp.is_finite()) {
            return Err(Error::Invalid(format!("log-probability {bad}")));
        }
        if let Some((bad, _)) = self.weight.runs().iter().find(|run| !run.0.is_finite()) {
            return Err(Error::Invalid(format!("loss weight {bad}")));
        }
        for (what, ends) in [("steps", &self.steps), ("turns", &self.turns)] {
            if !ends.is_sorted() || ends.last().is_some_and(|&end| u64::from(end) > length) {
                return Err(Error::Invalid(format!("{what} {ends:?} do not rise within {length} tokens")));
            }
        }
        if let Some(sampling) = self.sampling {
            let Sampling { temperature, top_k: _, top_p, min_p, repetition_penalty } = sampling;
            let mut set = [Some(temperature), top_p, min_p, repetition_penalty].into_iter().flatten();
            if let Some(bad) = set.find(|value| !value.is_finite()) {
                return Err(Error::Invalid(format!("sampling setting {bad}")));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_join_equal_neighbours() {
        let runs: Runs<u8> = [1, 1, 2, 1].into_iter().collect();
        assert_eq!(runs.runs(), [(1, 2), (2, 1), (1, 1)]);
        assert_eq!(runs.iter().collect::<Vec<_>>(), [1, 1, 2, 1]);
        assert_eq!(runs.len(), 4);
        assert!(!runs.is_empty() && Runs::<u8>::new().is_empty());
    }

    #[test]
    fn a_run_never_overflows_its_count() {
        let mut runs = Runs::new();
        runs.push('a', u32::MAX);
        runs.push('a', 2);
        assert_eq!(runs.len(), u64::from(u32::MAX) + 2);
    }

    fn dialogue() -> TokenRecord {
        let mut record = TokenRecord::default();
        record.push_given(Source::Prompt, &[5, 6, 7]);
        record.push_sampled(8, -0.5);
        record.push_sampled(9, -0.25);
        record.end_step();
        record.end_turn();
        record.push_given(Source::Tool, &[4]);
        record.push_sampled(3, -1.0);
        record.end_turn();
        record
    }

    #[test]
    fn a_dialogue_is_laid_out_by_token() {
        let record = dialogue();
        record.validate().unwrap();
        let logp: Vec<_> = record.logp_by_token().collect();
        assert_eq!(logp, [None, None, None, Some(-0.5), Some(-0.25), None, Some(-1.0)]);
        assert_eq!(record.weight.iter().collect::<Vec<_>>(), [0., 0., 0., 1., 1., 0., 1.]);
        assert_eq!((record.steps.as_slice(), record.turns.as_slice()), (&[5][..], &[5, 7][..]));
    }

    #[test]
    fn contradictions_are_named() {
        type Spoil = fn(&mut TokenRecord);
        let spoils: [(Spoil, &str); 6] = [
            (|r| r.ids.push(1), "source covers 7 tokens of 8"),
            (|r| r.weight.push(0.0, 1), "weight covers 8 tokens of 7"),
            (|r| r.logp.clear(), "logp covers 0 tokens of 3"),
            (|r| r.logp[1] = f32::NEG_INFINITY, "log-probability -inf"),
            (|r| r.steps.push(8), "steps [5, 8] do not rise within 7 tokens"),
            (|r| r.turns.push(1), "turns [5, 7, 1] do not rise within 7 tokens"),
        ];
        for (spoil, message) in spoils {
            let mut record = dialogue();
            spoil(&mut record);
            assert_eq!(record.validate().unwrap_err().to_string(), format!("inconsistent trace: {message}"));
        }
    }
}
