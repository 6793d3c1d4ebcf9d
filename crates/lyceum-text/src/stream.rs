//! Decoding while tokens arrive.

use crate::{Result, SpecialTokens, Tokenizer};

/// Turns one generation's tokens into text as they come, never emitting half a character.
///
/// What [`push`](Self::push) and [`finish`](Self::finish) return, joined, is [`Tokenizer::decode`] of all ids. (One
/// exception: a vocabulary with byte fallback judges a run of bytes as a whole, so malformed UTF-8 there may come out
/// with another number of U+FFFD.) Each push decodes a few tokens, not the whole text.
#[derive(Debug, Clone)]
pub struct TextStream {
    special: SpecialTokens,
    /// Some tokens whose text is out, for the decoders that look left, then those not wholly out.
    window: Vec<u32>,
    /// Where the second part of `window` starts.
    fresh: usize,
    /// Bytes of the text of `window` that are out.
    emitted: usize,
}

impl TextStream {
    /// A stream at the start of a generation.
    #[must_use]
    pub fn new(special: SpecialTokens) -> Self {
        Self { special, window: Vec::new(), fresh: 0, emitted: 0 }
    }

    /// Takes the next token and returns the text it completes, which may be empty.
    ///
    /// # Errors
    /// As [`Tokenizer::decode`].
    pub fn push(&mut self, tokenizer: &Tokenizer, id: u32) -> Result<String> {
        self.window.push(id);
        let text = tokenizer.decode(&self.window, self.special)?;
        // What the next token may still change: one character shows an unfinished sequence of bytes, except under byte
        // fallback, which judges a whole run of bytes at once.
        let most = if tokenizer.decodes_bytes() { 1 } else { usize::MAX };
        let open = text.chars().rev().take(most).take_while(|&c| c == char::REPLACEMENT_CHARACTER).count();
        let piece = self.take(&text, text.len() - open * char::REPLACEMENT_CHARACTER.len_utf8());
        if open == 0 && !piece.is_empty() {
            self.window.drain(..self.fresh);
            self.fresh = self.window.len();
            self.emitted = tokenizer.decode(&self.window, self.special)?.len();
        }
        Ok(piece)
    }

    /// Ends the generation and returns what was held back: an unfinished character, as U+FFFD.
    ///
    /// # Errors
    /// As [`Tokenizer::decode`].
    pub fn finish(&mut self, tokenizer: &Tokenizer) -> Result<String> {
        let text = tokenizer.decode(&self.window, self.special)?;
        let piece = self.take(&text, text.len());
        *self = Self::new(self.special);
        Ok(piece)
    }

    /// Text between what is out and `end`.
    fn take(&mut self, text: &str, end: usize) -> String {
        let start = text.ceil_char_boundary(self.emitted);
        let piece = text.get(start..end).unwrap_or_default().to_owned();
        self.emitted = self.emitted.max(end);
        piece
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ControlTokens;

    fn streamed(tokenizer: &Tokenizer, ids: &[u32], special: SpecialTokens) -> Vec<String> {
        let mut stream = TextStream::new(special);
        let mut pieces: Vec<String> = ids.iter().map(|&id| stream.push(tokenizer, id).unwrap()).collect();
        pieces.push(stream.finish(tokenizer).unwrap());
        pieces
    }

    #[test]
    fn a_character_comes_whole_with_its_last_byte() {
        let tokenizer = Tokenizer::bytes(&ControlTokens::default()).unwrap();
        let ids = tokenizer.encode("aé🙂").unwrap();
        assert_eq!(streamed(&tokenizer, &ids, SpecialTokens::Keep), ["a", "", "é", "", "", "", "🙂", ""]);
    }

    #[test]
    fn a_cut_character_is_flushed_at_the_end() {
        let tokenizer = Tokenizer::bytes(&ControlTokens::default()).unwrap();
        let ids = tokenizer.encode("🙂").unwrap();
        assert_eq!(streamed(&tokenizer, &ids[..3], SpecialTokens::Keep), ["", "", "", "\u{FFFD}"]);
    }

    proptest! {
        #[test]
        fn streaming_equals_decoding(ids in prop::collection::vec(0u32..300, 0..80), keep: bool) {
            let tokenizer = Tokenizer::bytes(&ControlTokens::default()).unwrap();
            let special = if keep { SpecialTokens::Keep } else { SpecialTokens::Skip };
            prop_assert_eq!(streamed(&tokenizer, &ids, special).concat(), tokenizer.decode(&ids, special).unwrap());
        }

        #[test]
        fn text_never_shows_a_replacement(text in "\\PC{0,20}") {
            prop_assume!(!text.contains('\u{FFFD}'));
            let tokenizer = Tokenizer::bytes(&ControlTokens::default()).unwrap();
            let ids = tokenizer.encode(&text).unwrap();
            let pieces = streamed(&tokenizer, &ids, SpecialTokens::Keep);
            let broken = pieces.iter().any(|piece| piece.contains('\u{FFFD}'));
            prop_assert!(!broken);
            prop_assert_eq!(pieces.concat(), text);
        }
    }
}
