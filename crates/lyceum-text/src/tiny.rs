//! Vocabularies for tiny models trained from scratch: single bytes, or a given list of characters and words.
//!
//! Both are ordinary `tokenizer.json` pipelines, so that a saved tiny model loads in `transformers` too.

use serde_json::{Value, json};

use crate::pipeline::{Pipeline, byte_alphabet, byte_level, byte_pairs, numbered};
use crate::{Result, SpecialIds, Tokenizer};

/// Control tokens of a tiny vocabulary; they take the first ids, in the order of the fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControlTokens {
    /// Padding.
    pub pad: String,
    /// Ends a generation.
    pub eos: String,
    /// Begins a document, if the model wants one; never added by itself.
    pub bos: Option<String>,
    /// Further control tokens, such as those of a chat template.
    pub more: Vec<String>,
}

impl Default for ControlTokens {
    /// `<|pad|>`, `<|im_end|>` and `<|im_start|>`: enough for ChatML.
    fn default() -> Self {
        Self { pad: "<|pad|>".into(), eos: "<|im_end|>".into(), bos: None, more: vec!["<|im_start|>".into()] }
    }
}

impl ControlTokens {
    fn in_order(&self) -> impl Iterator<Item = &str> {
        [&self.pad, &self.eos].into_iter().chain(&self.bos).chain(&self.more).map(String::as_str)
    }
}

/// What stands for text outside the vocabulary of [`Tokenizer::units`].
const UNKNOWN: &str = "<|unk|>";

impl Tokenizer {
    /// One token for each of the 256 bytes, after the control tokens: spells every text.
    ///
    /// # Errors
    /// [`Error::Vocabulary`](crate::Error::Vocabulary) if a control token is empty or comes twice.
    pub fn bytes(control: &ControlTokens) -> Result<Self> {
        let names: Vec<&str> = control.in_order().collect();
        let bytes: Vec<String> = byte_alphabet().map(String::from).collect();
        let vocab = numbered(names.iter().copied().chain(bytes.iter().map(String::as_str)))?;
        tiny(&names, control, byte_pairs(vocab, &[]).into(), byte_level(false), byte_level(false))
    }

    /// One token for each of `units` (characters, words, pieces with spaces), after the control tokens and `<|unk|>`.
    /// Text is cut from the left, the longest unit first; a character that starts no unit becomes `<|unk|>`. Decoding
    /// joins the units as they are.
    ///
    /// # Errors
    /// [`Error::Vocabulary`](crate::Error::Vocabulary) if a unit or control token is empty or comes twice.
    pub fn units<'a>(units: impl IntoIterator<Item = &'a str>, control: &ControlTokens) -> Result<Self> {
        let names: Vec<&str> = control.in_order().chain([UNKNOWN]).collect();
        let mut units: Vec<&str> = units.into_iter().collect();
        let vocab = numbered(names.iter().chain(&units).copied())?;
        let model = json!({"type": "WordLevel", "vocab": vocab, "unk_token": UNKNOWN});
        units.sort_by_key(|unit| std::cmp::Reverse(unit.len()));
        let longest_first: String = units.iter().map(|unit| escape(unit) + "|").collect();
        let split = json!({"type": "Split", "pattern": {"Regex": longest_first + r"[\s\S]"},
            "behavior": "Isolated", "invert": false});
        tiny(&names, control, model, split, json!({"type": "Fuse"}))
    }
}

/// A tokenizer whose first ids are `names`.
fn tiny(
    names: &[&str],
    control: &ControlTokens,
    model: Value,
    pre_tokenizer: Value,
    decoder: Value,
) -> Result<Tokenizer> {
    let id = |name: &str| names.iter().position(|&other| other == name).map(|id| id as u32);
    let special = SpecialIds {
        bos: control.bos.as_deref().and_then(id),
        eos: id(&control.eos).into_iter().collect(),
        pad: id(&control.pad),
        unk: id(UNKNOWN),
    };
    let pipeline = Pipeline {
        added: names.iter().enumerate().map(|(id, &name)| (id, name.to_owned(), true)).collect(),
        normalizer: Value::Null,
        pre_tokenizer,
        post_processor: Value::Null,
        decoder,
        model,
    };
    Tokenizer::from_json(pipeline.to_json().as_bytes(), special, None)
}

/// A regular expression, in Rust's and in Oniguruma's syntax, for exactly `text`.
fn escape(text: &str) -> String {
    let special = |c: char| r"\.+*?()|[]{}^$".contains(c);
    text.chars().flat_map(|c| special(c).then_some('\\').into_iter().chain([c])).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{Error, SpecialTokens};

    #[test]
    fn bytes_follow_the_control_tokens() {
        let tokenizer = Tokenizer::bytes(&ControlTokens::default()).unwrap();
        assert_eq!(tokenizer.vocab_size(), 3 + 256);
        assert_eq!(tokenizer.encode("A\né<|im_end|>").unwrap(), [3 + 65, 3 + 10, 3 + 0xC3, 3 + 0xA9, 1]);
        assert_eq!(tokenizer.special(), &SpecialIds { bos: None, eos: vec![1], pad: Some(0), unk: None });
    }

    #[test]
    fn units_are_cut_longest_first() {
        let units = ["1", "12", "+", "=", " ", "\n", "step", "steps"];
        let tokenizer = Tokenizer::units(units, &ControlTokens::default()).unwrap();
        let tokens = |text| {
            let ids = tokenizer.encode(text).unwrap();
            ids.into_iter().map(|id| tokenizer.token(id).unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(tokens("121 + steps\n"), ["12", "1", " ", "+", " ", "steps", "\n"]);
        assert_eq!(tokens("1é🙂1"), ["1", "<|unk|>", "<|unk|>", "1"]);
    }

    #[test]
    fn a_unit_given_twice_is_an_error() {
        let error = Tokenizer::units(["a", "b", "a"], &ControlTokens::default()).unwrap_err();
        assert!(
            matches!(&error, Error::Vocabulary(problem) if problem.contains("\"a\" has two ids, 4 and 6"))
        );
    }

    proptest! {
        #[test]
        fn bytes_spell_every_text(text: String) {
            let tokenizer = Tokenizer::bytes(&ControlTokens::default()).unwrap();
            let ids = tokenizer.encode(&text).unwrap();
            prop_assert_eq!(tokenizer.decode(&ids, SpecialTokens::Keep).unwrap(), text);
        }

        #[test]
        fn units_spell_what_is_made_of_them(picks in prop::collection::vec(0usize..7, 0..40)) {
            let units = ["^", "a.b", "$(", "a", ".", "b", "[]|\\"];
            let tokenizer = Tokenizer::units(units, &ControlTokens::default()).unwrap();
            let text: String = picks.into_iter().map(|pick| units[pick]).collect();
            let ids = tokenizer.encode(&text).unwrap();
            prop_assert!(!ids.contains(&tokenizer.special().unk.unwrap()));
            prop_assert_eq!(tokenizer.decode(&ids, SpecialTokens::Keep).unwrap(), text);
        }
    }
}
