//! Continuous batching: as many samples in flight as fit, a finished one's place refilled at once.

use std::collections::VecDeque;
use std::sync::OnceLock;

use lyceum_nn::decoder::{Decoder, KvCache, RowInput, Slot};
use lyceum_text::Tokenizer;

use crate::Result;
use crate::active::Active;
use crate::request::{Completion, Finish, Request};
use crate::sampling::{Drawn, draw};

/// What happened during generation, as it happens.
#[derive(Debug)]
pub enum Event<'a> {
    /// A sample grew by a piece of text.
    Text {
        /// Index of the request.
        request: usize,
        /// Index of the sample within it.
        sample: usize,
        /// The piece.
        piece: &'a str,
    },
    /// A sample is complete.
    Done {
        /// Index of the request.
        request: usize,
        /// Index of the sample within it.
        sample: usize,
        /// The sample.
        completion: &'a Completion,
    },
}

/// A generator over a decoder's weights, which it borrows: trainer and generator can't differ.
///
/// A sample depends on its prompt, settings and key only; neither the batch size nor what else is in flight changes
/// its ids or log-probabilities.
#[derive(Clone, Copy)]
pub struct Generator<'m> {
    decoder: &'m Decoder,
    tokenizer: &'m Tokenizer,
    batch: usize,
}

/// A sample in flight with its place in the cache and the token that comes next.
struct Flight {
    active: Active,
    slot: Slot,
    next: u32,
}

/// A prompt in the cache and the logits after it.
struct Prefilled {
    request: usize,
    slot: Slot,
    logits: Vec<f32>,
}

impl<'m> Generator<'m> {
    /// A generator that keeps at most `batch` samples in flight.
    #[must_use]
    pub fn new(decoder: &'m Decoder, tokenizer: &'m Tokenizer, batch: usize) -> Self {
        Self { decoder, tokenizer, batch: batch.max(1) }
    }

    /// Tokens that a prompt and its completion may have together.
    #[must_use]
    pub fn context(&self) -> usize {
        self.decoder.config().max_positions
    }

    /// Completes all requests; the answer has one list a request, in order, with one completion a sample.
    ///
    /// A request that can't be answered (an empty prompt, one longer than the context, broken logits) gets
    /// completions that say so.
    ///
    /// # Errors
    /// [`Error::Model`](crate::Error::Model) and [`Error::Text`](crate::Error::Text) for faults of model or tokenizer that concern all requests.
    pub fn generate(
        &self,
        requests: &[Request],
        observe: &mut dyn FnMut(Event<'_>),
    ) -> Result<Vec<Vec<Completion>>> {
        let mut cache = self.decoder.cache();
        let mut done: Vec<Vec<Option<Completion>>> =
            requests.iter().map(|r| vec![None; r.samples.len()]).collect();
        let mut waiting: VecDeque<(usize, usize)> = requests
            .iter()
            .enumerate()
            .flat_map(|(r, q)| (0..q.samples.len()).map(move |s| (r, s)))
            .collect();
        let mut flights: Vec<Flight> = Vec::new();
        let mut prefilled: Vec<Prefilled> = Vec::new();
        let mut logits = Vec::new();

        while !(waiting.is_empty() && flights.is_empty()) {
            let places = self.batch - flights.len();
            let newcomers: Vec<(usize, usize)> = waiting.drain(..places.min(waiting.len())).collect();
            self.prefill(requests, &newcomers, &mut cache, &mut prefilled)?;
            for (r, s) in newcomers {
                let active = Active::new(r, s);
                let Some(ready) = prefilled.iter().find(|ready| ready.request == r) else {
                    let cause = self.refusal(&requests[r]);
                    finish(&mut done, observe, active, Finish::Fault, cause);
                    continue;
                };
                let drawn = self.draw_row(&mut ready.logits.clone(), &requests[r], &active);
                if let Some((active, next)) = self.advance(active, drawn, requests, &mut done, observe)? {
                    flights.push(Flight { active, slot: cache.fork(ready.slot), next });
                }
            }
            // Only the prompt of the sample that waits first can be needed again.
            let next = waiting.front().map(|&(r, _)| r);
            prefilled.retain(|ready| {
                let keep = Some(ready.request) == next;
                if !keep {
                    cache.release(ready.slot);
                }
                keep
            });
            if flights.is_empty() {
                continue;
            }
            let rows: Vec<RowInput> =
                flights.iter().map(|f| RowInput { token: f.next, slot: f.slot }).collect();
            let wanted: Vec<usize> = (0..rows.len()).collect();
            self.decoder.extend(&mut cache, &rows, &wanted, &mut logits)?;
            let drawn = self.draw_rows(&mut logits, requests, &flights);
            for (flight, drawn) in std::mem::take(&mut flights).into_iter().zip(drawn) {
                match self.advance(flight.active, drawn, requests, &mut done, observe)? {
                    Some((active, next)) => flights.push(Flight { active, next, slot: flight.slot }),
                    None => cache.release(flight.slot),
                }
            }
        }
        Ok(done.into_iter().map(|samples| samples.into_iter().flatten().collect()).collect())
    }

    /// Brings the newcomers' prompts into the cache, each once, unless they are there or can't be answered.
    fn prefill(
        &self,
        requests: &[Request],
        newcomers: &[(usize, usize)],
        cache: &mut KvCache,
        prefilled: &mut Vec<Prefilled>,
    ) -> Result<()> {
        let mut wanted: Vec<usize> = newcomers.iter().map(|&(r, _)| r).collect();
        wanted.dedup();
        wanted.retain(|&r| {
            prefilled.iter().all(|ready| ready.request != r) && self.refusal(&requests[r]).is_none()
        });
        if wanted.is_empty() {
            return Ok(());
        }
        let prompts: Vec<(Slot, &[u32])> =
            wanted.iter().map(|&r| (cache.allocate(), requests[r].prompt.as_slice())).collect();
        let mut logits = Vec::new();
        self.decoder.prefill(cache, &prompts, &mut logits)?;
        let rows = logits.chunks_exact(self.decoder.config().vocab_size);
        prefilled.extend(
            wanted.iter().zip(&prompts).zip(rows).map(|((&request, &(slot, _)), row)| Prefilled {
                request,
                slot,
                logits: row.to_vec(),
            }),
        );
        Ok(())
    }

    /// Why a request can't be answered.
    fn refusal(&self, request: &Request) -> Option<String> {
        let context = self.decoder.config().max_positions;
        let length = request.prompt.len();
        if let Some(problem) = request.sampling.problem() {
            return Some(problem);
        }
        if request.stop.max_new_tokens == 0 {
            return Some("max_new_tokens is 0; at least 1 can be generated".into());
        }
        if length == 0 {
            return Some("the prompt is empty".into());
        }
        if let Some(id) = request.prompt.iter().find(|&&id| id as usize >= self.decoder.config().vocab_size) {
            return Some(format!("the prompt holds token {id}, which the model does not know"));
        }
        (length >= context)
            .then(|| format!("the prompt has {length} tokens; the model's context holds {context}"))
    }

    fn draw_row(&self, logits: &mut [f32], request: &Request, active: &Active) -> Option<Drawn> {
        let level = self.decoder.pool().level();
        let uniform = request.uniform(active.sample, active.ids().len());
        let allowed = active.allowed(request);
        draw(level, logits, &request.sampling, &active.history(request), allowed.as_deref(), uniform)
    }

    /// Draws for all flights at once: the rows are independent, so they are shared among the threads.
    fn draw_rows(&self, logits: &mut [f32], requests: &[Request], flights: &[Flight]) -> Vec<Option<Drawn>> {
        let drawn: Vec<OnceLock<Option<Drawn>>> = flights.iter().map(|_| OnceLock::new()).collect();
        let width = logits.len() / flights.len();
        self.decoder.pool().split(logits, width, |first, rows| {
            for (i, row) in rows.chunks_exact_mut(width).enumerate() {
                let active = &flights[first + i].active;
                let token = self.draw_row(row, &requests[active.request], active);
                let _ = drawn[first + i].set(token);
            }
        });
        drawn.into_iter().map(|cell| cell.into_inner().flatten()).collect()
    }

    /// Gives a drawn token to its sample. Returns the sample and the token to go on with, or `None` if it is over.
    fn advance(
        &self,
        mut active: Active,
        drawn: Option<Drawn>,
        requests: &[Request],
        done: &mut [Vec<Option<Completion>>],
        observe: &mut dyn FnMut(Event<'_>),
    ) -> Result<Option<(Active, u32)>> {
        let request = &requests[active.request];
        let Some(drawn) = drawn else {
            let cause = "the model's logits are not finite";
            finish(done, observe, active, Finish::Fault, Some(cause.into()));
            return Ok(None);
        };
        let context = self.decoder.config().max_positions;
        let progress = active.push(drawn, request, context, self.tokenizer)?;
        if !progress.piece.is_empty() {
            let (request, sample) = (active.request, active.sample);
            observe(Event::Text { request, sample, piece: &progress.piece });
        }
        match progress.finish {
            None => Ok(Some((active, drawn.token))),
            Some(why) => {
                finish(done, observe, active, why, None);
                Ok(None)
            }
        }
    }
}

fn finish(
    done: &mut [Vec<Option<Completion>>],
    observe: &mut dyn FnMut(Event<'_>),
    active: Active,
    why: Finish,
    fault: Option<String>,
) {
    let (request, sample) = (active.request, active.sample);
    let completion = active.complete(why, fault);
    observe(Event::Done { request, sample, completion: &completion });
    done[request][sample] = Some(completion);
}
