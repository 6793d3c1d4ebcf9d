//! What is asked of a chat model, and what it replies.

use lyceum_text::Message;
use serde::{Deserialize, Serialize};

/// A question to a chat model. What it serialises to is what a cached reply is kept under.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChatRequest {
    /// The conversation so far.
    pub messages: Vec<Message>,
    /// Most new tokens, at least 1.
    pub max_tokens: usize,
    /// Logits are divided by this; 0 always takes the most probable token.
    pub temperature: f64,
    /// Keep the most probable tokens up to this probability; 1 keeps all.
    pub top_p: f64,
    /// Seed of the sample. Without one an endpoint draws as it likes, and the local engine takes 0.
    pub seed: Option<u64>,
    /// The reply is cut before the first of these.
    pub stop: Vec<String>,
    /// Alternatives wanted at each token; 0 gives the tokens' own log-probabilities. `None` asks for no log-probabilities.
    pub top_logprobs: Option<usize>,
    /// The reply must be one of these; free when empty. Endpoints do it as well as they can: see [`ChatReply::choice`].
    pub choices: Vec<String>,
}

impl ChatRequest {
    /// A greedy request of at most `max_tokens`.
    #[must_use]
    pub fn greedy(messages: Vec<Message>, max_tokens: usize) -> Self {
        Self {
            messages,
            max_tokens,
            temperature: 0.0,
            top_p: 1.0,
            seed: None,
            stop: Vec::new(),
            top_logprobs: None,
            choices: Vec::new(),
        }
    }

    /// Whether asking twice should give the same reply: greedy, or sampled with a seed.
    #[must_use]
    pub fn is_repeatable(&self) -> bool {
        self.temperature == 0.0 || self.seed.is_some()
    }

    /// The first setting that makes no sense, in words.
    #[must_use]
    pub fn problem(&self) -> Option<String> {
        if self.messages.is_empty() {
            return Some("there are no messages; give at least one".into());
        }
        if self.max_tokens == 0 {
            return Some("max_tokens is 0; at least 1 can be generated".into());
        }
        if !(self.temperature.is_finite() && self.temperature >= 0.0) {
            return Some(format!("temperature = {} is outside [0, inf)", self.temperature));
        }
        if !(self.top_p > 0.0 && self.top_p <= 1.0) {
            return Some(format!("top_p = {} is outside (0, 1]", self.top_p));
        }
        None
    }
}

/// A reply.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ChatReply {
    /// What the model said.
    pub text: String,
    /// What it thought before, where the server tells that apart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning: Option<String>,
    /// Why it ended.
    pub finish: Finish,
    /// Which of the request's choices the text is; `None` if none was asked for, or if the endpoint did not keep to them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub choice: Option<usize>,
    /// What it cost.
    pub usage: Usage,
    /// The tokens with their log-probabilities, without the one that ends the reply; empty if not asked for or not told.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tokens: Vec<TokenLogProb>,
    /// What a clock decides: two replies are compared without it.
    pub wall: Wall,
}

impl ChatReply {
    /// The index of the choice that the text is, white space around it aside.
    pub(crate) fn choose(&mut self, choices: &[String]) {
        self.choice = choices.iter().position(|choice| choice.trim() == self.text.trim());
    }
}

/// Why a reply ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Finish {
    /// At its end, or at a stop string.
    #[default]
    Stop,
    /// At the limit of new tokens, or of the context.
    Length,
    /// To call a tool.
    ToolCalls,
    /// Anything else that the server says.
    Other(String),
}

/// Tokens of a call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Tokens of the prompt; 0 where the server does not tell.
    pub prompt_tokens: u64,
    /// Tokens of the reply; 0 where the server does not tell.
    pub completion_tokens: u64,
}

/// A token of a reply.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TokenLogProb {
    /// Its text, as far as it is text.
    pub token: String,
    /// Its log-probability, in nats.
    pub logprob: f64,
    /// The most probable tokens in its place, the best first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub top: Vec<Alternative>,
}

/// A token that could have stood in a place.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Alternative {
    /// Its text.
    pub token: String,
    /// Its log-probability, in nats.
    pub logprob: f64,
}

/// What a clock decides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Wall {
    /// Seconds from the question to the whole reply, with all waits.
    pub seconds: f64,
    /// Attempts that it took; 0 for a reply from the cache.
    pub attempts: u32,
}

/// A reply as it grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delta<'a> {
    /// A piece of the text.
    Text(&'a str),
    /// A piece of what it thinks.
    Reasoning(&'a str),
    /// The reply broke off and begins anew: what came before is void.
    Again,
}
