//! What is asked of the engine, and what it answers.

use std::sync::Arc;

use lyceum_stats::{Draw, Purpose};
use rand::Rng;
use serde::Serialize;

use crate::{Choices, Sampling};

/// A prompt and the samples wanted of it. The samples of a request share the prompt's key-value cache.
#[derive(Clone, Debug)]
pub struct Request {
    /// Token ids of the prompt.
    pub prompt: Vec<u32>,
    /// One completion for each: the place in the run that its random numbers belong to.
    pub samples: Vec<Draw>,
    /// What the random numbers are for.
    pub purpose: Purpose,
    /// How tokens are chosen.
    pub sampling: Sampling,
    /// When a completion ends.
    pub stop: Stop,
    /// The completion must be one of these.
    pub choices: Option<Arc<Choices>>,
    /// Tokens that these samples drew before, where the prompt holds their earlier turns: their random numbers go on there.
    pub drawn: usize,
}

impl Request {
    /// The uniform number in [0, 1) that chooses token `position` of a sample, whatever was drawn before.
    pub(crate) fn uniform(&self, sample: usize, position: usize) -> f64 {
        let mut stream = self.samples[sample].rng(self.purpose);
        stream.set_word_pos(2 * (self.drawn + position) as u128);
        stream.random()
    }
}

/// When a completion ends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stop {
    /// At one of these tokens, which is part of the completion's ids and not of its text.
    pub tokens: Vec<u32>,
    /// When its text contains one of these; the text is cut before it.
    pub strings: Vec<String>,
    /// After this many new tokens, at least 1.
    pub max_new_tokens: usize,
}

/// Why a completion ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Finish {
    /// A stop token, a stop string, or the end of a choice.
    Stop,
    /// The limit of new tokens, or of the context.
    Length,
    /// Something went wrong; see [`Completion::fault`].
    Fault,
}

/// A sample.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Completion {
    /// The sampled tokens.
    pub ids: Vec<u32>,
    /// Log-probability of each under the whole distribution at the sampling temperature (at 1 when greedy).
    pub logp: Vec<f32>,
    /// Log of the probability mass that truncation left when each was drawn; empty when nothing was cut off.
    pub kept: Vec<f32>,
    /// The text, without stop token and stop string.
    pub text: String,
    /// Why it ended.
    pub finish: Finish,
    /// The stop string that ended it, if one did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop: Option<String>,
    /// What went wrong, if anything.
    pub fault: Option<String>,
}

impl Completion {
    /// A completion that could not be had.
    #[must_use]
    pub fn faulty(cause: String) -> Self {
        Self {
            ids: Vec::new(),
            logp: Vec::new(),
            kept: Vec::new(),
            text: String::new(),
            finish: Finish::Fault,
            stop: None,
            fault: Some(cause),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(samples: u64) -> Request {
        Request {
            prompt: vec![1],
            samples: (0..samples).map(|sample| Draw { seed: 1, step: 1, prompt: 0, sample }).collect(),
            purpose: Purpose::Tokens,
            sampling: Sampling::default(),
            stop: Stop::default(),
            choices: None,
            drawn: 0,
        }
    }

    #[test]
    fn a_position_sees_the_same_number_whatever_was_drawn_before() {
        let request = request(2);
        let mut stream = request.samples[1].rng(request.purpose);
        for position in 0..200 {
            let number = stream.random::<f64>();
            assert_eq!(request.uniform(1, position), number, "position {position}");
            // A later turn goes on where the earlier one ended.
            let drawn = position / 2;
            assert_eq!(Request { drawn, ..request.clone() }.uniform(1, position - drawn), number);
        }
    }

    #[test]
    fn a_groups_numbers_are_uniform_at_every_position() {
        let request = request(2_000);
        for position in [0, 1, 4, 9, 31, 32, 40] {
            let mut tenths = [0; 10];
            for sample in 0..2_000 {
                tenths[(10.0 * request.uniform(sample, position)) as usize] += 1;
            }
            assert!(tenths.iter().all(|n| (140..260).contains(n)), "position {position}: {tenths:?}");
        }
    }
}
