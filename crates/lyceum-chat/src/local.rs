//! The local engine as a chat model.

use std::sync::Arc;
use std::time::Instant;

use lyceum_engine::{Choices, Completion, Event, Model, Request, Sampling, Stop};
use lyceum_stats::{Draw, Purpose};
use lyceum_text::{Message, SpecialTokens};

use crate::{
    Alternative, ChatModel, ChatReply, ChatRequest, Delta, Error, Finish, LogProbability, Result,
    TokenLogProb, Usage, Wall,
};

/// A model on this machine. Requests that are asked together are computed together.
pub struct LocalChat<'m> {
    model: &'m Model,
    batch: usize,
}

impl<'m> LocalChat<'m> {
    /// A model that computes at most `batch` replies at once.
    #[must_use]
    pub fn new(model: &'m Model, batch: usize) -> Self {
        Self { model, batch }
    }

    fn request(&self, request: &ChatRequest) -> Result<Request> {
        if let Some(problem) = request.problem() {
            return Err(Error::Request(problem));
        }
        let codec = &self.model.codec;
        let choices: Vec<Vec<u32>> = request
            .choices
            .iter()
            .map(|choice| Ok(codec.tokenizer().encode(choice).map_err(lyceum_engine::Error::from)?))
            .collect::<Result<_>>()?;
        Ok(Request {
            prompt: codec.prompt(&request.messages)?,
            samples: vec![Draw { seed: request.seed.unwrap_or(0), ..Draw::default() }],
            purpose: Purpose::Tokens,
            sampling: Sampling {
                temperature: request.temperature as f32,
                top_p: request.top_p as f32,
                ..Sampling::default()
            },
            stop: Stop {
                tokens: codec.stop_tokens(),
                strings: request.stop.clone(),
                max_new_tokens: request.max_tokens,
            },
            choices: (!choices.is_empty()).then(|| Arc::new(Choices::new(choices.iter().map(Vec::as_slice)))),
            drawn: 0,
        })
    }

    fn reply(&self, request: &ChatRequest, asked: &Request, done: Completion) -> Result<ChatReply> {
        let finish = match (done.finish, done.fault) {
            (_, Some(fault)) => return Err(Error::Request(fault)),
            (lyceum_engine::Finish::Length, None) => Finish::Length,
            (_, None) => Finish::Stop,
        };
        let tokens = match request.top_logprobs {
            None => Vec::new(),
            Some(top) => {
                // Servers do not tell of the token that ends a reply.
                let ended = done.ids.last().is_some_and(|id| asked.stop.tokens.contains(id));
                let ids = &done.ids[..done.ids.len() - usize::from(ended)];
                self.tokens(&asked.prompt, ids, &done.logp, top)?
            }
        };
        let usage =
            Usage { prompt_tokens: asked.prompt.len() as u64, completion_tokens: done.ids.len() as u64 };
        let mut reply = ChatReply { text: done.text, finish, usage, tokens, ..ChatReply::default() };
        reply.choose(&request.choices);
        Ok(reply)
    }

    /// The sampled tokens with their log-probabilities (at the sampling temperature), and the best `top` in their places (at 1).
    fn tokens(&self, prompt: &[u32], ids: &[u32], logp: &[f32], top: usize) -> Result<Vec<TokenLogProb>> {
        let best = if top == 0 { Vec::new() } else { self.model.alternatives(prompt, ids, top)? };
        let text = |id: u32| {
            let text = self.model.codec.tokenizer().decode(&[id], SpecialTokens::Keep);
            text.map_err(|error| Error::from(lyceum_engine::Error::from(error)))
        };
        let one = |(i, (&id, &logp)): (usize, (&u32, &f32))| {
            let best = best.get(i).into_iter().flatten();
            let alternative =
                |&(id, logp): &(u32, f32)| Ok(Alternative { token: text(id)?, logprob: f64::from(logp) });
            let top = best.map(alternative).collect::<Result<_>>()?;
            Ok(TokenLogProb { token: text(id)?, logprob: f64::from(logp), top })
        };
        ids.iter().zip(logp).enumerate().map(one).collect()
    }

    fn answer(&self, requests: &[ChatRequest], observe: &mut dyn FnMut(Delta<'_>)) -> Vec<Result<ChatReply>> {
        let begin = Instant::now();
        let asked: Vec<Result<Request>> = requests.iter().map(|request| self.request(request)).collect();
        let good: Vec<Request> = asked.iter().filter_map(|request| request.as_ref().ok().cloned()).collect();
        let done = self.model.generator(self.batch).generate(&good, &mut |event| {
            if let Event::Text { piece, .. } = event {
                observe(Delta::Text(piece));
            }
        });
        let mut fault = None;
        let mut done = match done {
            Ok(done) => done.into_iter().flatten(),
            Err(error) => {
                fault = Some(error.to_string());
                Vec::new().into_iter().flatten()
            }
        };
        let wall = |reply: ChatReply| ChatReply {
            wall: Wall { seconds: begin.elapsed().as_secs_f64(), attempts: 1 },
            ..reply
        };
        let one = |(request, asked): (&ChatRequest, Result<Request>)| {
            let asked = asked?;
            let cause = || fault.clone().unwrap_or_else(|| "the engine gave no completion".into());
            let completion = done.next().unwrap_or_else(|| Completion::faulty(cause()));
            self.reply(request, &asked, completion).map(wall)
        };
        requests.iter().zip(asked).map(one).collect()
    }
}

impl ChatModel for LocalChat<'_> {
    fn name(&self) -> &str {
        &self.model.identity.name
    }

    fn identity(&self) -> String {
        let identity = &self.model.identity;
        let precision = self.model.policy.decoder().precision();
        format!("local {} {} {precision:?}", identity.name, identity.fingerprint)
    }

    fn stream(&self, request: &ChatRequest, observe: &mut dyn FnMut(Delta<'_>)) -> Result<ChatReply> {
        let none = || Err(Error::Request("the engine gave no reply".into()));
        self.answer(std::slice::from_ref(request), observe).pop().unwrap_or_else(none)
    }

    fn chat_all(&self, requests: &[ChatRequest], _: usize) -> Vec<Result<ChatReply>> {
        self.answer(requests, &mut |_| {})
    }

    fn log_probability(&self, prompt: &[Message], continuation: &str) -> Result<LogProbability> {
        let codec = &self.model.codec;
        let ids = codec.tokenizer().encode(continuation).map_err(lyceum_engine::Error::from)?;
        let tokens = self.model.log_probabilities(&codec.prompt(prompt)?, &ids)?;
        Ok(LogProbability { total: tokens.iter().map(|&logp| f64::from(logp)).sum(), tokens })
    }
}
