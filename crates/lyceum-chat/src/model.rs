//! The trait of all chat models.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use lyceum_text::Message;

use crate::{ChatReply, ChatRequest, Delta, Error, Result};

/// A model that continues conversations.
pub trait ChatModel: Sync {
    /// What the model is called, for traces and messages.
    fn name(&self) -> &str;

    /// What tells this model from all others, for caches: other weights or another address are another model.
    fn identity(&self) -> String {
        self.name().to_owned()
    }

    /// Replies to a request; `observe` sees the reply grow.
    ///
    /// # Errors
    /// Whatever keeps the model from a whole reply, by its border.
    fn stream(&self, request: &ChatRequest, observe: &mut dyn FnMut(Delta<'_>)) -> Result<ChatReply>;

    /// Replies to a request.
    ///
    /// # Errors
    /// As [`stream`](Self::stream).
    fn chat(&self, request: &ChatRequest) -> Result<ChatReply> {
        self.stream(request, &mut |_| {})
    }

    /// Replies to all requests, in their order, at most `concurrency` at a time: by threads, unless the model has a better way.
    fn chat_all(&self, requests: &[ChatRequest], concurrency: usize) -> Vec<Result<ChatReply>> {
        each(requests, concurrency, |request| self.chat(request))
    }

    /// The log-probability of an answer after a conversation.
    ///
    /// # Errors
    /// [`Error::Unsupported`] where the model can't tell.
    fn log_probability(&self, prompt: &[Message], continuation: &str) -> Result<LogProbability> {
        let _ = (prompt, continuation);
        Err(Error::Unsupported {
            model: self.name().to_owned(),
            what: "tell the log-probability of a given text",
            remedy: "use a local model",
        })
    }
}

/// The log-probability of a text.
#[derive(Clone, Debug, PartialEq)]
pub struct LogProbability {
    /// Of the whole, in nats.
    pub total: f64,
    /// Of each of its tokens.
    pub tokens: Vec<f32>,
}

/// Replies to all requests, in their order, at most `concurrency` at a time. A request that fails fails alone.
pub fn ask_all(
    model: &dyn ChatModel,
    requests: &[ChatRequest],
    concurrency: usize,
) -> Vec<Result<ChatReply>> {
    model.chat_all(requests, concurrency)
}

/// Does `work` on all items with threads that take the next item when they are free.
pub(crate) fn each<T: Sync>(
    items: &[T],
    concurrency: usize,
    work: impl Fn(&T) -> Result<ChatReply> + Sync,
) -> Vec<Result<ChatReply>> {
    let next = AtomicUsize::new(0);
    let done: Vec<OnceLock<Result<ChatReply>>> = items.iter().map(|_| OnceLock::new()).collect();
    let worker = || {
        while let Some((item, cell)) =
            Some(next.fetch_add(1, Ordering::Relaxed)).and_then(|i| Some((items.get(i)?, done.get(i)?)))
        {
            // The cell is this thread's alone, so it is empty.
            let _ = cell.set(work(item));
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..concurrency.min(items.len()) {
            scope.spawn(worker);
        }
        worker();
    });
    let lost = || Err(Error::Request("a thread ended before it had replied".into()));
    done.into_iter().map(|cell| cell.into_inner().unwrap_or_else(lost)).collect()
}
