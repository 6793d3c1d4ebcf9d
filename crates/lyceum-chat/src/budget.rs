//! Token budgets: what a method may generate, split among its calls.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::{ChatModel, ChatReply, ChatRequest, Delta, Error, Result};

/// Tokens that may be generated. It never grows but by [`absorb`](Self::absorb); threads may share it.
#[derive(Debug, Default)]
pub struct Budget {
    left: AtomicU64,
}

impl Budget {
    /// A budget of so many tokens.
    #[must_use]
    pub const fn new(tokens: u64) -> Self {
        Self { left: AtomicU64::new(tokens) }
    }

    /// Tokens left.
    pub fn left(&self) -> u64 {
        self.left.load(Ordering::SeqCst)
    }

    /// Takes `tokens` out as a budget of their own.
    ///
    /// # Errors
    /// [`Error::Budget`] if there are not so many; nothing is taken then.
    pub fn take(&self, tokens: u64) -> Result<Self> {
        let take = |left: u64| left.checked_sub(tokens);
        match self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take) {
            Ok(_) => Ok(Self::new(tokens)),
            Err(left) => Err(Error::Budget { asked: tokens, left }),
        }
    }

    /// Parts all that is left into `parts` budgets whose sizes differ by one at most and sum to the whole.
    #[must_use]
    pub fn split(&self, parts: usize) -> Vec<Self> {
        if parts == 0 {
            return Vec::new();
        }
        let (whole, parts) = (self.left.swap(0, Ordering::SeqCst), parts as u64);
        (0..parts).map(|part| Self::new(whole / parts + u64::from(part < whole % parts))).collect()
    }

    /// Takes back what a part did not need.
    pub fn absorb(&self, part: Self) {
        self.left.fetch_add(part.left.into_inner(), Ordering::SeqCst);
    }

    /// Takes up to `tokens`, at least one.
    fn reserve(&self, tokens: u64) -> Result<u64> {
        let mut granted = 0;
        let take = |left: u64| {
            granted = tokens.min(left);
            (granted > 0).then(|| left - granted)
        };
        match self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take) {
            Ok(_) => Ok(granted),
            Err(left) => Err(Error::Budget { asked: tokens, left }),
        }
    }
}

/// A model whose replies are paid from a budget. A call gets no more tokens than are left, however many it asks for, and is refused
/// when none are; calls at the same time never spend more than there was.
pub struct Budgeted<'a> {
    model: &'a dyn ChatModel,
    budget: &'a Budget,
}

impl<'a> Budgeted<'a> {
    /// `model` at the expense of `budget`.
    #[must_use]
    pub fn new(model: &'a dyn ChatModel, budget: &'a Budget) -> Self {
        Self { model, budget }
    }
}

impl ChatModel for Budgeted<'_> {
    fn name(&self) -> &str {
        self.model.name()
    }

    fn identity(&self) -> String {
        self.model.identity()
    }

    fn stream(&self, request: &ChatRequest, observe: &mut dyn FnMut(Delta<'_>)) -> Result<ChatReply> {
        let granted = self.budget.reserve(request.max_tokens as u64)?;
        let request = ChatRequest { max_tokens: granted as usize, ..request.clone() };
        let reply = self.model.stream(&request, observe);
        // What a failed call cost nobody tells; a reply that does not tell its tokens cost all it might.
        let used = match &reply {
            Ok(reply) if reply.usage.completion_tokens > 0 => reply.usage.completion_tokens,
            Ok(reply) if reply.text.is_empty() && reply.reasoning.is_none() => 0,
            Ok(_) => granted,
            Err(_) => 0,
        };
        self.budget.absorb(Budget::new(granted.saturating_sub(used)));
        reply
    }

    fn log_probability(
        &self,
        prompt: &[lyceum_text::Message],
        continuation: &str,
    ) -> Result<crate::LogProbability> {
        self.model.log_probability(prompt, continuation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Usage, ask_all};

    /// Uses all it is given, at most 7.
    struct Talker;

    impl ChatModel for Talker {
        fn name(&self) -> &str {
            "talker"
        }

        fn stream(&self, request: &ChatRequest, _: &mut dyn FnMut(Delta<'_>)) -> Result<ChatReply> {
            let usage = Usage { prompt_tokens: 1, completion_tokens: request.max_tokens.min(7) as u64 };
            Ok(ChatReply { text: "x".into(), usage, ..ChatReply::default() })
        }
    }

    #[test]
    fn parts_sum_to_the_whole() {
        let budget = Budget::new(10);
        let mut parts = budget.split(3);
        assert_eq!(parts.iter().map(Budget::left).collect::<Vec<_>>(), [4, 3, 3]);
        assert_eq!(budget.left(), 0);
        assert!(matches!(budget.take(1), Err(Error::Budget { asked: 1, left: 0 })));
        budget.absorb(parts.remove(0));
        assert_eq!(budget.take(3).unwrap().left(), 3);
        assert_eq!(budget.left(), 1);
        assert!(budget.split(0).is_empty());
    }

    #[test]
    fn no_more_is_spent_than_there_is() {
        let budget = Budget::new(20);
        let model = Budgeted::new(&Talker, &budget);
        let request = ChatRequest::greedy(vec![lyceum_text::Message::new("user", "?")], 10);
        assert_eq!(model.chat(&request).unwrap().usage.completion_tokens, 7);
        assert_eq!(budget.left(), 13);
        let spent: u64 = ask_all(&model, &vec![request.clone(); 9], 4)
            .into_iter()
            .filter_map(|reply| Some(reply.ok()?.usage.completion_tokens))
            .sum();
        assert_eq!(spent + budget.left(), 13);
        while model.chat(&request).is_ok() {}
        assert_eq!(budget.left(), 0);
    }
}
