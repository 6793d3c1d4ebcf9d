//! The parts of a `tokenizer.json`, the one form in which every tokenizer here is built.

use serde_json::{Map, Value, json};

use crate::{Error, Result};

/// The parts in which the vocabularies of language models differ.
pub(crate) struct Pipeline {
    /// (id, text, special): tokens matched whole in the text before anything else.
    pub added: Vec<(usize, String, bool)>,
    pub normalizer: Value,
    pub pre_tokenizer: Value,
    pub post_processor: Value,
    pub decoder: Value,
    pub model: Value,
}

impl Pipeline {
    pub(crate) fn to_json(&self) -> String {
        let added: Vec<Value> = self
            .added
            .iter()
            .map(|(id, content, special)| {
                json!({"id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
                    "normalized": false, "special": special})
            })
            .collect();
        json!({"version": "1.0", "truncation": null, "padding": null, "added_tokens": added,
            "normalizer": self.normalizer, "pre_tokenizer": self.pre_tokenizer,
            "post_processor": self.post_processor, "decoder": self.decoder, "model": self.model})
        .to_string()
    }
}

/// `vocab` of a model: the tokens numbered in their order.
///
/// # Errors
/// [`Error::Vocabulary`] if a token is empty or comes twice.
pub(crate) fn numbered<'a>(tokens: impl IntoIterator<Item = &'a str>) -> Result<Map<String, Value>> {
    let mut vocab = Map::new();
    for (id, token) in tokens.into_iter().enumerate() {
        if token.is_empty() {
            return Err(Error::Vocabulary(format!("token {id} is empty")));
        }
        if let Some(first) = vocab.insert(token.to_owned(), id.into()) {
            return Err(Error::Vocabulary(format!("token {token:?} has two ids, {first} and {id}")));
        }
    }
    Ok(vocab)
}

/// A byte-pair model as `tokenizers` writes it.
pub(crate) fn byte_pairs(vocab: Map<String, Value>, merges: &[(&str, &str)]) -> Map<String, Value> {
    let mut model = Map::new();
    model.insert("type".into(), "BPE".into());
    for absent in ["dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix"] {
        model.insert(absent.into(), Value::Null);
    }
    for off in ["fuse_unk", "byte_fallback", "ignore_merges"] {
        model.insert(off.into(), false.into());
    }
    model.insert("vocab".into(), vocab.into());
    model.insert("merges".into(), json!(merges));
    model
}

/// Bytes to and from the printable characters of [`byte_alphabet`]; cuts text the GPT-2 way if `split`.
pub(crate) fn byte_level(split: bool) -> Value {
    json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": split})
}

/// Parts applied one after the other.
pub(crate) fn sequence(of: &str, parts: &[Value]) -> Value {
    json!({"type": "Sequence", of: parts})
}

/// The printable character that stands for each byte in a byte-level vocabulary (GPT-2's `bytes_to_unicode`): itself
/// if it is printable in Latin-1, else the next character from U+0100.
pub(crate) fn byte_alphabet() -> impl Iterator<Item = char> {
    let mut next = 0x100;
    (0..=255u8).map(move |byte| match byte {
        b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF => char::from(byte),
        _ => {
            next += 1;
            char::from_u32(next - 1).unwrap_or(char::REPLACEMENT_CHARACTER)
        }
    })
}
