//! A completion while it grows.

use lyceum_text::{SpecialTokens, TextStream, Tokenizer};

use crate::request::{Completion, Finish, Request};
use crate::sampling::Drawn;

/// One sample in flight.
pub(crate) struct Active {
    /// Index of the request.
    pub request: usize,
    /// Index of the sample within the request.
    pub sample: usize,
    ids: Vec<u32>,
    logp: Vec<f32>,
    kept: Vec<f32>,
    text: String,
    stream: TextStream,
}

/// What a new token did.
pub(crate) struct Progress {
    /// Text that the token completed.
    pub piece: String,
    /// Why the completion is over, if it is.
    pub finish: Option<Finish>,
}

impl Active {
    pub(crate) fn new(request: usize, sample: usize) -> Self {
        let stream = TextStream::new(SpecialTokens::Skip);
        Self {
            request,
            sample,
            ids: Vec::new(),
            logp: Vec::new(),
            kept: Vec::new(),
            text: String::new(),
            stream,
        }
    }

    pub(crate) fn ids(&self) -> &[u32] {
        &self.ids
    }

    /// Tokens that the repetition penalty looks at; empty when there is no penalty.
    pub(crate) fn history(&self, request: &Request) -> Vec<u32> {
        if request.sampling.repetition_penalty == 1.0 {
            return Vec::new();
        }
        [request.prompt.as_slice(), &self.ids].concat()
    }

    /// The only tokens that may come next, if the request is a choice.
    pub(crate) fn allowed(&self, request: &Request) -> Option<Vec<u32>> {
        request.choices.as_ref().map(|choices| choices.allowed(&self.ids, &request.stop.tokens))
    }

    /// Takes a drawn token. `context` is the number of tokens that the model can hold.
    pub(crate) fn push(
        &mut self,
        drawn: Drawn,
        request: &Request,
        context: usize,
        tokenizer: &Tokenizer,
    ) -> Result<Progress, lyceum_text::Error> {
        self.ids.push(drawn.token);
        self.logp.push(drawn.logp);
        self.kept.push(drawn.kept);
        if request.stop.tokens.contains(&drawn.token) {
            return Ok(Progress { piece: String::new(), finish: Some(Finish::Stop) });
        }
        let before = self.text.len();
        self.text.push_str(&self.stream.push(tokenizer, drawn.token)?);
        if let Some(end) = first_stop(&self.text, before, &request.stop.strings) {
            self.text.truncate(end);
            return Ok(Progress { piece: self.piece_from(before), finish: Some(Finish::Stop) });
        }
        let chosen = self.allowed(request).is_some_and(|tokens| tokens.is_empty());
        let full =
            self.ids.len() >= request.stop.max_new_tokens || request.prompt.len() + self.ids.len() >= context;
        let finish = if chosen {
            Some(Finish::Stop)
        } else if full {
            Some(Finish::Length)
        } else {
            None
        };
        if finish.is_some() {
            self.text.push_str(&self.stream.finish(tokenizer)?);
        }
        Ok(Progress { piece: self.piece_from(before), finish })
    }

    fn piece_from(&self, before: usize) -> String {
        self.text.get(before..).unwrap_or_default().to_owned()
    }

    pub(crate) fn complete(mut self, finish: Finish, fault: Option<String>) -> Completion {
        if self.kept.iter().all(|&k| k == 0.0) {
            self.kept.clear();
        }
        Completion { ids: self.ids, logp: self.logp, kept: self.kept, text: self.text, finish, fault }
    }
}

/// Where the first stop string begins, looking only where text from `before` on can be part of it.
fn first_stop(text: &str, before: usize, stops: &[String]) -> Option<usize> {
    let find = |stop: &String| {
        let mut from = before.saturating_sub(stop.len());
        while !text.is_char_boundary(from) {
            from -= 1;
        }
        text[from..].find(stop.as_str()).map(|at| from + at)
    };
    stops.iter().filter(|stop| !stop.is_empty()).filter_map(find).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stop_string_may_be_split_over_tokens() {
        let stops = ["</answer>".to_owned(), "é!".to_owned()];
        assert_eq!(first_stop("x </answer>", 7, &stops), Some(2));
        assert_eq!(first_stop("x </answ", 3, &stops), None);
        assert_eq!(first_stop("ééé!", 6, &stops), Some(4));
        assert_eq!(first_stop("é! then é! again", 14, &stops), None);
    }
}
