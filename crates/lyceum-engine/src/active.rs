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
    /// Bytes of the text that were given out.
    shown: usize,
    stream: TextStream,
    stop: Option<String>,
}

/// What a new token did.
pub(crate) struct Progress {
    /// Text that is certain now: what may yet become a stop string is held back.
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
            shown: 0,
            stream,
            stop: None,
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
            return Ok(Progress { piece: self.piece_to(self.text.len()), finish: Some(Finish::Stop) });
        }
        let before = self.text.len();
        self.text.push_str(&self.stream.push(tokenizer, drawn.token)?);
        if let Some((end, stop)) = first_stop(&self.text, before, &request.stop.strings) {
            self.stop = Some(stop.clone());
            self.text.truncate(end);
            return Ok(Progress { piece: self.piece_to(end), finish: Some(Finish::Stop) });
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
        let held = if finish.is_some() {
            self.text.push_str(&self.stream.finish(tokenizer)?);
            0
        } else {
            begun_stop(&self.text, &request.stop.strings)
        };
        Ok(Progress { piece: self.piece_to(self.text.len() - held), finish })
    }

    /// The text up to `end` that was not given out before.
    fn piece_to(&mut self, end: usize) -> String {
        let piece = self.text.get(self.shown..end).unwrap_or_default().to_owned();
        self.shown = self.shown.max(end);
        piece
    }

    pub(crate) fn complete(mut self, finish: Finish, fault: Option<String>) -> Completion {
        if self.kept.iter().all(|&k| k == 0.0) {
            self.kept.clear();
        }
        let Self { ids, logp, kept, text, stop, .. } = self;
        Completion { ids, logp, kept, text, finish, stop, fault }
    }
}

/// Where the first stop string begins, and which it is, looking only where text from `before` on can be part of it.
fn first_stop<'a>(text: &str, before: usize, stops: &'a [String]) -> Option<(usize, &'a String)> {
    let find = |stop: &str| {
        let mut from = before.saturating_sub(stop.len());
        while !text.is_char_boundary(from) {
            from -= 1;
        }
        text[from..].find(stop).map(|at| from + at)
    };
    stops.iter().filter(|stop| !stop.is_empty()).filter_map(|stop| Some((find(stop)?, stop))).min()
}

/// Bytes at the end of a text that may be the beginning of a stop string.
fn begun_stop(text: &str, stops: &[String]) -> usize {
    let begun = |stop: &String| {
        let heads = stop.char_indices().map(|(end, _)| &stop[..end]);
        heads.filter(|head| text.ends_with(head)).map(str::len).max()
    };
    stops.iter().filter_map(begun).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use lyceum_text::ControlTokens;

    use super::*;
    use crate::request::Stop;

    /// Feeds a text byte by byte; the pieces, and the completion's text.
    fn pieces(text: &str, stops: &[&str], last: Option<u32>) -> (Vec<String>, String) {
        let tokenizer = Tokenizer::bytes(&ControlTokens::default()).unwrap();
        let mut ids = tokenizer.encode(text).unwrap();
        ids.extend(last);
        let request = Request {
            prompt: vec![1],
            samples: Vec::new(),
            purpose: lyceum_stats::Purpose::Tokens,
            sampling: crate::Sampling::default(),
            stop: Stop {
                tokens: last.into_iter().collect(),
                strings: stops.iter().map(ToString::to_string).collect(),
                max_new_tokens: ids.len(),
            },
            choices: None,
            drawn: 0,
        };
        let mut active = Active::new(0, 0);
        let mut pieces = Vec::new();
        for token in ids {
            let drawn = Drawn { token, logp: 0.0, kept: 0.0 };
            let progress = active.push(drawn, &request, 1000, &tokenizer).unwrap();
            pieces.push(progress.piece);
            if progress.finish.is_some() {
                break;
            }
        }
        let text = active.complete(Finish::Stop, None).text;
        (pieces, text)
    }

    #[test]
    fn the_beginning_of_a_stop_string_is_held_back() {
        let stops = ["</a>", "é!"];
        let (shown, text) = pieces("x</a>y", &stops, None);
        assert_eq!(shown, ["x", "", "", "", ""]);
        assert_eq!(text, "x");
        // It was none after all: what was held back comes with what follows.
        let (shown, text) = pieces("x</b<</a>", &stops, None);
        assert_eq!(shown, ["x", "", "", "</b", "", "<", "", "", ""]);
        assert_eq!(text, "x</b<");
        assert_eq!(
            pieces("éé!", &stops, None),
            (vec!["".into(), "".into(), "".into(), "é".into(), "".into()], "é".into())
        );
    }

    #[test]
    fn what_is_held_back_comes_at_the_end() {
        // At the limit of tokens, and at a stop token.
        for last in [None, Some(b'~'.into())] {
            let (shown, text) = pieces("x</", &["</a>"], last);
            assert_eq!(shown.concat(), "x</", "{shown:?}");
            assert_eq!(text, "x</");
        }
    }

    #[test]
    fn a_stop_string_may_be_split_over_tokens() {
        let stops = ["</answer>".to_owned(), "é!".to_owned()];
        assert_eq!(first_stop("x </answer>", 7, &stops), Some((2, &stops[0])));
        assert_eq!(first_stop("x </answ", 3, &stops), None);
        assert_eq!(first_stop("ééé!", 6, &stops), Some((4, &stops[1])));
        assert_eq!(first_stop("é! then é! again", 14, &stops), None);
    }
}
