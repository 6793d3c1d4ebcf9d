//! A chat model behind an address: OpenAI's chat API over HTTP.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::key::Key;
use crate::retry::backoff;
use crate::transport::Transport;
use crate::{ChatModel, ChatReply, ChatRequest, Delta, Error, Fault, Limits, Profile, RateLimit, Result};

/// How an endpoint is reached; a table of a recipe.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EndpointSpec {
    /// Its address, to which `/chat/completions` is added: `http://localhost:8080/v1`.
    pub url: String,
    /// The model's name there.
    pub model: String,
    /// The kind of server.
    pub profile: Profile,
    /// The environment variable that holds the key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_env: Option<String>,
    /// Seconds for a whole call, with all attempts and waits.
    pub deadline: f64,
    /// Seconds for one attempt.
    pub attempt_deadline: f64,
    /// Seconds between two pieces of a streamed reply.
    pub chunk_deadline: f64,
    /// Attempts at a call.
    pub attempts: u32,
    /// Whether replies are streamed when somebody looks on.
    pub stream: bool,
    /// Requests a minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests_per_minute: Option<u64>,
    /// Tokens a minute, of prompts and replies.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens_per_minute: Option<u64>,
    /// Seed of the waits between attempts.
    pub seed: u64,
}

impl Default for EndpointSpec {
    fn default() -> Self {
        Self {
            url: String::new(),
            model: "default".into(),
            profile: Profile::default(),
            key_env: None,
            deadline: 600.0,
            attempt_deadline: 300.0,
            chunk_deadline: 60.0,
            attempts: 4,
            stream: true,
            requests_per_minute: None,
            tokens_per_minute: None,
            seed: 0,
        }
    }
}

/// A chat model behind an address. Threads may share it: the rate limits then hold for all together.
#[derive(Debug)]
pub struct Endpoint {
    spec: EndpointSpec,
    limits: Limits,
    transport: Transport,
    rate: RateLimit,
}

impl Endpoint {
    /// An endpoint; nothing is asked yet.
    ///
    /// # Errors
    /// [`Error::Settings`] for an address that is none, seconds that are none, or a key that is not there.
    pub fn new(spec: &EndpointSpec) -> Result<Self> {
        let seconds = |name: &str, value: f64| {
            let duration = Duration::try_from_secs_f64(value).ok().filter(|d| !d.is_zero());
            duration
                .ok_or_else(|| problem(spec, format!("{name} = {value} is no time; give seconds above 0")))
        };
        let limits = Limits {
            call: seconds("deadline", spec.deadline)?,
            attempt: seconds("attempt_deadline", spec.attempt_deadline)?,
            between_chunks: seconds("chunk_deadline", spec.chunk_deadline)?,
            attempts: spec.attempts.max(1),
            ..Limits::default()
        };
        Self::with_limits(spec, limits)
    }

    /// An endpoint with limits of its own; those of the specification are not looked at.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_limits(spec: &EndpointSpec, limits: Limits) -> Result<Self> {
        if !(spec.url.starts_with("http://") || spec.url.starts_with("https://")) {
            return Err(problem(spec, "an address begins with http:// or https://".into()));
        }
        let key = match &spec.key_env {
            None => None,
            Some(name) => Some(Key::from_env(name).ok_or_else(|| {
                problem(spec, format!("the environment variable {name} is to hold its key and is not set"))
            })?),
        };
        let url = format!("{}/chat/completions", spec.url.trim_end_matches('/'));
        Ok(Self {
            transport: Transport::new(url, key, limits.clone()),
            rate: RateLimit::new(spec.requests_per_minute, spec.tokens_per_minute),
            spec: spec.clone(),
            limits,
        })
    }

    fn ask(
        &self,
        request: &ChatRequest,
        stream: bool,
        observe: &mut dyn FnMut(Delta<'_>),
    ) -> Result<ChatReply> {
        if let Some(problem) = request.problem() {
            return Err(Error::Request(problem));
        }
        let begin = Instant::now();
        let body = self.spec.profile.body(request, &self.spec.model, stream);
        let call = number_of(&body);
        let mut attempt = 0;
        loop {
            attempt += 1;
            let fault = match self.attempt(request, &body, stream, begin, observe) {
                Ok(mut reply) => {
                    if !request.choices.is_empty() {
                        self.spec.profile.unwrap_choice(&mut reply, &request.choices);
                    }
                    reply.wall.seconds = begin.elapsed().as_secs_f64();
                    reply.wall.attempts = attempt;
                    return Ok(reply);
                }
                Err(fault) => fault,
            };
            let mut wait = backoff(self.spec.seed, call, attempt);
            if let Fault::Status { retry_after: Some(asked), .. } = &fault {
                wait = wait.max(*asked);
            }
            // A wait that outlasts the call is not begun.
            let over = attempt >= self.limits.attempts || begin.elapsed() + wait >= self.limits.call;
            if over || !fault.is_passing() {
                return Err(Error::Endpoint { url: self.spec.url.clone(), attempts: attempt, fault });
            }
            std::thread::sleep(wait);
            observe(Delta::Again);
        }
    }

    fn attempt(
        &self,
        request: &ChatRequest,
        body: &serde_json::Value,
        stream: bool,
        begin: Instant,
        observe: &mut dyn FnMut(Delta<'_>),
    ) -> Result<ChatReply, Fault> {
        let left = || self.limits.call.saturating_sub(begin.elapsed());
        let reservation = self.rate.reserve(Instant::now(), expected_tokens(request));
        let wait = reservation.at.saturating_duration_since(Instant::now());
        if wait >= left() {
            self.rate.release(&reservation);
            return Err(Fault::Deadline { what: "room within the rate limits", limit: self.limits.call });
        }
        std::thread::sleep(wait);
        let reply = self.transport.post(body, stream, self.limits.attempt.min(left()), observe)?;
        let used = reply.usage.prompt_tokens + reply.usage.completion_tokens;
        if used > 0 {
            self.rate.settle(&reservation, used);
        }
        Ok(reply)
    }
}

impl ChatModel for Endpoint {
    fn name(&self) -> &str {
        &self.spec.model
    }

    fn identity(&self) -> String {
        format!("{} {} {}", self.spec.profile.name(), self.spec.url, self.spec.model)
    }

    fn stream(&self, request: &ChatRequest, observe: &mut dyn FnMut(Delta<'_>)) -> Result<ChatReply> {
        self.ask(request, self.spec.stream, observe)
    }

    fn chat(&self, request: &ChatRequest) -> Result<ChatReply> {
        self.ask(request, false, &mut |_| {})
    }
}

fn problem(spec: &EndpointSpec, problem: String) -> Error {
    Error::Settings { url: spec.url.clone(), problem }
}

/// A number that belongs to the content of a call, not to when it was made: its waits are drawn by it.
fn number_of(body: &serde_json::Value) -> u64 {
    let hash = Sha256::digest(body.to_string().as_bytes());
    hash.iter().take(8).fold(0, |number, &byte| number << 8 | u64::from(byte))
}

/// Tokens that a call may take, before anyone has counted: about four bytes each, and a few a message.
fn expected_tokens(request: &ChatRequest) -> u64 {
    let prompt: usize = request.messages.iter().map(|message| message.text().len() / 4 + 8).sum();
    (prompt + request.max_tokens) as u64
}
