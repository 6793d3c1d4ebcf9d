//! Tokenizers from the metadata of a GGUF file.
//!
//! Such a file has no `tokenizer.json` but the vocabulary's arrays and, under `tokenizer.ggml.pre`, the *name* of the
//! way its text is cut before merging. The names are llama.cpp's; the pipelines are those of the models' own
//! `tokenizer.json`.

use serde_json::{Value, json};

use crate::pipeline::{Pipeline, byte_level, byte_pairs, numbered, sequence};
use crate::{Error, Result, SpecialIds, Tokenizer};

/// The `tokenizer.*` entries of a GGUF file.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct GgufVocabulary {
    /// `ggml.model`: `gpt2` (byte-level pairs) or `llama` (SentencePiece pairs).
    pub model: String,
    /// `ggml.pre`: how text is cut before merging.
    pub pre: Option<String>,
    /// `ggml.tokens`: the position is the id.
    pub tokens: Vec<String>,
    /// `ggml.token_type`: 3 control, 4 user-defined; empty means all are normal.
    pub token_types: Vec<i32>,
    /// `ggml.scores`: only for `llama`.
    pub scores: Vec<f32>,
    /// `ggml.merges`: `"left right"`, best first; only for `gpt2`.
    pub merges: Vec<String>,
    /// `ggml.bos_token_id`.
    pub bos: Option<u32>,
    /// `ggml.eos_token_id`.
    pub eos: Option<u32>,
    /// `ggml.eot_token_id`: ends a turn, therefore a generation.
    pub eot: Option<u32>,
    /// `ggml.padding_token_id`.
    pub pad: Option<u32>,
    /// `ggml.unknown_token_id`.
    pub unk: Option<u32>,
    /// `ggml.add_bos_token`.
    pub add_bos: Option<bool>,
    /// `ggml.add_space_prefix`: only for `llama`.
    pub add_space_prefix: Option<bool>,
    /// `chat_template`.
    pub chat_template: Option<String>,
}

const CONTROL: i32 = 3;
const USER_DEFINED: i32 = 4;

const LLAMA3_SPLIT: &str = concat!(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}",
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
);
const QWEN2_SPLIT: &str = concat!(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}",
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
);

impl Tokenizer {
    /// The tokenizer that a GGUF file describes.
    ///
    /// # Errors
    /// [`Error::Vocabulary`] if the arrays contradict each other or the kind of vocabulary is not known here.
    pub fn from_gguf(file: &GgufVocabulary) -> Result<Self> {
        for (name, len) in [("token_type", file.token_types.len()), ("scores", file.scores.len())] {
            if len != 0 && len != file.tokens.len() {
                return Err(Error::Vocabulary(format!(
                    "{} tokens but {len} entries of {name}",
                    file.tokens.len()
                )));
            }
        }
        let mut pipeline = match file.model.as_str() {
            "gpt2" => byte_level_pairs(file)?,
            "llama" => sentence_pieces(file)?,
            other => {
                return Err(Error::Vocabulary(format!(
                    "GGUF tokenizer model {other:?} is not supported (gpt2 and llama are); \
                     use the model's Hugging Face folder instead"
                )));
            }
        };
        let types = file.tokens.iter().zip(&file.token_types).enumerate();
        pipeline.added = types
            .filter(|(_, (token, kind))| matches!(**kind, CONTROL | USER_DEFINED) && !token.is_empty())
            .map(|(id, (token, kind))| (id, token.clone(), *kind == CONTROL))
            .collect();
        let begins =
            file.model == "llama" || matches!(file.pre.as_deref(), Some("llama-bpe" | "llama3" | "llama-v3"));
        if let Some(bos) = file.bos.filter(|_| file.add_bos.unwrap_or(begins)) {
            pipeline.post_processor = begin_with(bos, &file.tokens)?;
        }
        let mut eos: Vec<u32> = file.eos.into_iter().chain(file.eot).collect();
        eos.dedup();
        let special = SpecialIds { bos: file.bos, eos, pad: file.pad, unk: file.unk };
        Tokenizer::from_json(pipeline.to_json().as_bytes(), special, file.chat_template.clone())
    }
}

/// Byte-level pairs, cut before merging as `pre` says.
fn byte_level_pairs(file: &GgufVocabulary) -> Result<Pipeline> {
    let split = |pattern: &str| {
        let split =
            json!({"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false});
        sequence("pretokenizers", &[split, byte_level(false)])
    };
    let (pre_tokenizer, normalizer, whole_words) = match file.pre.as_deref() {
        Some("gpt-2" | "gpt2") => (byte_level(true), Value::Null, false),
        Some("smollm" | "starcoder" | "refact" | "command-r") => {
            let digits = json!({"type": "Digits", "individual_digits": true});
            (sequence("pretokenizers", &[digits, byte_level(true)]), Value::Null, false)
        }
        Some("qwen2" | "deepseek-r1-qwen") => (split(QWEN2_SPLIT), json!({"type": "NFC"}), false),
        Some("llama-bpe" | "llama3" | "llama-v3") => (split(LLAMA3_SPLIT), Value::Null, true),
        other => {
            return Err(Error::Vocabulary(format!(
                "GGUF pre-tokenizer {} is not known here (gpt-2, smollm, starcoder, refact, command-r, qwen2, \
                 deepseek-r1-qwen, llama-bpe are); use the model's Hugging Face folder instead",
                other.unwrap_or("(none named)")
            )));
        }
    };
    let merges: Vec<(&str, &str)> = file
        .merges
        .iter()
        .map(|merge| {
            merge.split_once(' ').ok_or_else(|| Error::Vocabulary(format!("merge {merge:?} is no pair")))
        })
        .collect::<Result<_>>()?;
    let mut model = byte_pairs(numbered(file.tokens.iter().map(String::as_str))?, &merges);
    model.insert("ignore_merges".into(), whole_words.into());
    Ok(Pipeline {
        added: Vec::new(),
        normalizer,
        pre_tokenizer,
        post_processor: Value::Null,
        decoder: byte_level(true),
        model: model.into(),
    })
}

/// SentencePiece pairs: spaces are `▁`, unknown characters fall back to bytes `<0xE2>`.
fn sentence_pieces(file: &GgufVocabulary) -> Result<Pipeline> {
    let vocab = numbered(file.tokens.iter().map(String::as_str))?;
    let mut model = byte_pairs(vocab, &implied_merges(&file.tokens, &file.scores));
    let unknown = file.unk.and_then(|id| file.tokens.get(id as usize));
    model.insert("unk_token".into(), json!(unknown));
    model.insert("fuse_unk".into(), true.into());
    model.insert("byte_fallback".into(), true.into());
    let prefix = file.add_space_prefix.unwrap_or(true);
    let mut decoders = vec![
        json!({"type": "Replace", "pattern": {"String": "▁"}, "content": " "}),
        json!({"type": "ByteFallback"}),
        json!({"type": "Fuse"}),
    ];
    if prefix {
        decoders.push(json!({"type": "Strip", "content": " ", "start": 1, "stop": 0}));
    }
    let scheme = if prefix { "first" } else { "never" };
    Ok(Pipeline {
        added: Vec::new(),
        normalizer: Value::Null,
        pre_tokenizer: json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": false}),
        post_processor: Value::Null,
        decoder: sequence("decoders", &decoders),
        model: model.into(),
    })
}

/// The merges that a scored vocabulary implies: every cut of a token into two tokens, the highest score first, then
/// the longer left part (the order of `transformers`' `generate_merges`).
fn implied_merges<'a>(tokens: &'a [String], scores: &[f32]) -> Vec<(&'a str, &'a str)> {
    let ids: std::collections::HashMap<&str, usize> =
        tokens.iter().enumerate().map(|(id, token)| (token.as_str(), id)).collect();
    let mut merges: Vec<(f32, &str, &str)> = Vec::new();
    for (token, &score) in tokens.iter().zip(scores) {
        let cuts = token.char_indices().skip(1).map(|(at, _)| token.split_at(at));
        let mut cuts: Vec<(&str, &str)> =
            cuts.filter(|(left, right)| ids.contains_key(left) && ids.contains_key(right)).collect();
        cuts.sort_by_key(|(left, right)| (ids[left], ids[right]));
        merges.extend(cuts.into_iter().map(|(left, right)| (score, left, right)));
    }
    let lengths = |left: &str, right: &str| (left.chars().count(), right.chars().count());
    merges.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| lengths(b.1, b.2).cmp(&lengths(a.1, a.2))));
    merges.into_iter().map(|(_, left, right)| (left, right)).collect()
}

/// The post-processor that puts `bos` before a document.
fn begin_with(bos: u32, tokens: &[String]) -> Result<Value> {
    let token = tokens
        .get(bos as usize)
        .ok_or_else(|| Error::Vocabulary(format!("bos id {bos} is outside the {} tokens", tokens.len())))?;
    let begin = json!({"SpecialToken": {"id": token, "type_id": 0}});
    let text = |id: &str, type_id: u32| json!({"Sequence": {"id": id, "type_id": type_id}});
    Ok(json!({"type": "TemplateProcessing", "single": [begin, text("A", 0)],
        "pair": [begin, text("A", 0), text("B", 1)],
        "special_tokens": {token: {"id": token, "ids": [bos], "tokens": [token]}}}))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn small() -> GgufVocabulary {
        GgufVocabulary {
            model: "gpt2".into(),
            pre: Some("smollm".into()),
            tokens: ["<|end|>", "a", "b", "ab"].map(String::from).to_vec(),
            token_types: vec![CONTROL, 1, 1, 1],
            merges: vec!["a b".into()],
            eos: Some(0),
            ..GgufVocabulary::default()
        }
    }

    #[test]
    fn broken_files_are_errors_that_say_what_is_broken() {
        Tokenizer::from_gguf(&small()).unwrap();
        type Breaks = fn(&mut GgufVocabulary);
        let broken: [(Breaks, &str); 9] = [
            (|file| file.model = "bert".into(), "\"bert\" is not supported"),
            (|file| file.pre = None, "(none named) is not known"),
            (|file| file.pre = Some("mystery".into()), "mystery is not known"),
            (|file| file.token_types.truncate(2), "4 tokens but 2 entries of token_type"),
            (|file| file.merges.push("ab".into()), "merge \"ab\" is no pair"),
            (|file| file.merges.push("a x".into()), "x"),
            (|file| file.tokens[3] = "a".into(), "\"a\" has two ids, 1 and 3"),
            (|file| file.eos = Some(4), "special id 4"),
            (|file| (file.bos, file.add_bos) = (Some(9), Some(true)), "bos id 9"),
        ];
        for (breaks, says) in broken {
            let mut file = small();
            breaks(&mut file);
            let error = Tokenizer::from_gguf(&file).unwrap_err().to_string();
            assert!(error.starts_with("vocabulary: ") && error.contains(says), "{error}");
        }
    }

    #[test]
    fn every_end_ends() {
        let file = GgufVocabulary { eot: Some(3), ..small() };
        assert_eq!(Tokenizer::from_gguf(&file).unwrap().special().eos, [0, 3]);
        let file = GgufVocabulary { eot: Some(0), ..small() };
        assert_eq!(Tokenizer::from_gguf(&file).unwrap().special().eos, [0]);
    }

    #[test]
    fn implied_merges_come_best_first() {
        let tokens = ["a", "b", "c", "ab", "bc", "abc"].map(String::from);
        let merges = implied_merges(&tokens, &[-1.0, -2.0, -3.0, -5.0, -4.0, -6.0]);
        assert_eq!(merges, [("b", "c"), ("a", "b"), ("ab", "c"), ("a", "bc")]);
    }
}
