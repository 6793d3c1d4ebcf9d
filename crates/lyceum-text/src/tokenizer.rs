//! The tokenizer: a `tokenizer.json` pipeline with the special ids and the chat template that belong to it.

use std::panic::{AssertUnwindSafe, catch_unwind};

use sha2::{Digest, Sha256};

use crate::{ChatTemplate, Error, Result};

/// More embedding rows than this beyond the tokenizer's size are no padding but another model.
const SPARE_ROWS: usize = 1024;

/// Ids with a meaning for generation and training.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SpecialIds {
    /// Begin of sequence.
    pub bos: Option<u32>,
    /// Any of these ends a generation; the first is the one to train with.
    pub eos: Vec<u32>,
    /// Padding.
    pub pad: Option<u32>,
    /// Stands for what the vocabulary cannot spell.
    pub unk: Option<u32>,
}

/// Whether decoding shows control tokens such as `<|im_end|>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpecialTokens {
    /// As text.
    Keep,
    /// Not at all.
    Skip,
}

/// Text to ids and back, equal to what `transformers` makes of the same files.
#[derive(Debug, Clone)]
pub struct Tokenizer {
    pipeline: tokenizers::Tokenizer,
    size: usize,
    special: SpecialIds,
    chat_template: Option<String>,
}

/// What the library makes of a foreign file, or what is wrong in words: a value that it did not expect makes it panic.
fn guarded<T>(work: impl FnOnce() -> tokenizers::Result<T>) -> std::result::Result<T, String> {
    // Whoever sees the error has nothing of the work, so nothing half done is seen.
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(result) => result.map_err(|error| error.to_string()),
        Err(_) => Err("a part of tokenizer.json has a value that can't be".into()),
    }
}

impl Tokenizer {
    /// From the bytes of a `tokenizer.json`.
    ///
    /// # Errors
    /// [`Error::Vocabulary`] if they are no tokenizer or a special id is outside its vocabulary.
    pub fn from_json(json: &[u8], special: SpecialIds, chat_template: Option<String>) -> Result<Self> {
        // Looked through first: the library panics on bad JSON within a decoder, and on some values elsewhere.
        let whole = serde_json::from_slice::<serde_json::Value>(json);
        whole.map_err(|error| Error::Vocabulary(format!("not JSON: {error}")))?;
        let mut pipeline = guarded(|| tokenizers::Tokenizer::from_bytes(json)).map_err(Error::Vocabulary)?;
        // Files keep the truncation and padding of their last use; neither belongs to the vocabulary.
        pipeline.with_padding(None);
        pipeline.with_truncation(None).map_err(|error| Error::Vocabulary(error.to_string()))?;
        let size = pipeline.get_vocab(true).values().max().map_or(0, |&id| id as usize + 1);
        let ids = [special.bos, special.pad, special.unk].into_iter().flatten();
        if let Some(id) = ids.chain(special.eos.iter().copied()).find(|&id| id as usize >= size) {
            return Err(Error::Vocabulary(format!("special id {id} is outside the {size} tokens")));
        }
        Ok(Self { pipeline, size, special, chat_template })
    }

    /// Ids of `text`. Control tokens written out in the text become their ids; none is added.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] if the vocabulary cannot spell the text and has no unknown token.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        self.encode_as(text, false)
    }

    /// Ids of a stranger's `text`, such as a tool's: control tokens written out in it stay text, so that it can neither end a
    /// turn nor begin one. (A control token of a single character can't be told from text.)
    ///
    /// # Errors
    /// As [`Tokenizer::encode`].
    pub fn encode_foreign(&self, text: &str) -> Result<Vec<u32>> {
        let added = self.pipeline.get_added_tokens_decoder();
        let controls: Vec<&str> = added.values().filter(|t| t.special).map(|t| t.content.as_str()).collect();
        let first_control = |text: &str| controls.iter().filter_map(|control| text.find(control)).min();
        let (mut ids, mut rest) = (Vec::new(), text);
        // Cut after a control token's first character, neither piece spells it.
        while let Some(at) = first_control(rest) {
            let end = at + rest[at..].chars().next().map_or(1, char::len_utf8);
            ids.extend(self.encode(&rest[..end])?);
            rest = &rest[end..];
        }
        ids.extend(self.encode(rest)?);
        Ok(ids)
    }

    /// Ids of `text` as the start of a document: with the begin (or end) token that this model's tokenizer adds.
    ///
    /// # Errors
    /// As [`Tokenizer::encode`], and for a post-processor that adds what is not in the vocabulary.
    pub fn encode_document(&self, text: &str) -> Result<Vec<u32>> {
        self.encode_as(text, true)
    }

    fn encode_as(&self, text: &str, add_special: bool) -> Result<Vec<u32>> {
        let encoding = guarded(|| self.pipeline.encode_fast(text, add_special)).map_err(Error::Tokenizer)?;
        let ids = encoding.get_ids();
        // A post-processor names its ids itself; the library does not look whether there are such.
        match ids.iter().find(|&&id| id as usize >= self.size) {
            None => Ok(ids.to_vec()),
            Some(id) => {
                let size = self.size;
                let problem = format!("the post-processor adds id {id}, which is outside the {size} tokens");
                Err(Error::Tokenizer(problem))
            }
        }
    }

    /// Text of `ids`. Ids outside the vocabulary (a model's padding rows) give nothing, invalid UTF-8 gives U+FFFD.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] if the decoder of the file refuses the tokens.
    pub fn decode(&self, ids: &[u32], special: SpecialTokens) -> Result<String> {
        guarded(|| self.pipeline.decode(ids, special == SpecialTokens::Skip)).map_err(Error::Tokenizer)
    }

    /// Whether tokens are bytes, decoded together, rather than text.
    pub(crate) fn decodes_bytes(&self) -> bool {
        matches!(self.pipeline.get_decoder(), Some(tokenizers::DecoderWrapper::ByteLevel(_)))
    }

    /// Number of ids: the highest plus one, added tokens included.
    #[must_use]
    pub fn vocab_size(&self) -> usize {
        self.size
    }

    /// The token as the vocabulary writes it (`Ġthe`, `<|im_end|>`).
    #[must_use]
    pub fn token(&self, id: u32) -> Option<String> {
        self.pipeline.id_to_token(id)
    }

    /// Whether every id stands for the same token in `other`: then ids of one model can be read by another.
    #[must_use]
    pub fn same_ids(&self, other: &Self) -> bool {
        self.size == other.size && (0..self.size as u32).all(|id| self.token(id) == other.token(id))
    }

    /// Id of a token as the vocabulary writes it.
    #[must_use]
    pub fn id(&self, token: &str) -> Option<u32> {
        self.pipeline.token_to_id(token)
    }

    /// Begin, end, padding and unknown ids.
    #[must_use]
    pub fn special(&self) -> &SpecialIds {
        &self.special
    }

    /// Whether a sampled `id` ends the generation.
    #[must_use]
    pub fn is_eos(&self, id: u32) -> bool {
        self.special.eos.contains(&id)
    }

    /// Source of the chat template, if there is one.
    #[must_use]
    pub fn chat_template_source(&self) -> Option<&str> {
        self.chat_template.as_deref()
    }

    /// The same tokenizer with another chat template, which [`Tokenizer::save`] will write.
    #[must_use]
    pub fn with_chat_template(self, source: impl Into<String>) -> Self {
        Self { chat_template: Some(source.into()), ..self }
    }

    /// The chat template, compiled; it sees this tokenizer's `bos_token`, `eos_token`, `pad_token` and `unk_token`.
    ///
    /// # Errors
    /// [`Error::NoChatTemplate`], or [`Error::Template`] if it does not compile.
    pub fn chat_template(&self) -> Result<ChatTemplate> {
        let source = self.chat_template.as_deref().ok_or(Error::NoChatTemplate)?;
        ChatTemplate::new(source, self.special_token_names())
    }

    /// The same tokenizer with other special ids.
    pub(crate) fn with_special(self, special: SpecialIds) -> Self {
        Self { special, ..self }
    }

    /// Names (`eos_token`, ...) and texts of the special tokens.
    pub(crate) fn special_token_names(&self) -> Vec<(&'static str, String)> {
        let SpecialIds { bos, eos, pad, unk } = &self.special;
        let named = [
            ("bos_token", *bos),
            ("eos_token", eos.first().copied()),
            ("pad_token", *pad),
            ("unk_token", *unk),
        ];
        named.into_iter().filter_map(|(name, id)| Some((name, self.token(id?)?))).collect()
    }

    /// Checks that every id has a row among the `rows` of a model's embedding, and that not many more rows are there.
    ///
    /// # Errors
    /// [`Error::VocabularySize`].
    pub fn check_model(&self, rows: usize) -> Result<()> {
        if (self.size..=self.size + SPARE_ROWS).contains(&rows) {
            return Ok(());
        }
        Err(Error::VocabularySize { tokens: self.size, rows })
    }

    /// SHA-256 (hex) of the pipeline, the special ids and the chat template: equal fingerprints read and write alike.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] if the pipeline cannot be written as JSON.
    pub fn fingerprint(&self) -> Result<String> {
        let mut hash = Sha256::new();
        hash.update(self.to_json(false)?);
        hash.update(format!("{:?}{:?}", self.special, self.chat_template));
        Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// The pipeline as the text of a `tokenizer.json`.
    pub(crate) fn to_json(&self, pretty: bool) -> Result<String> {
        self.pipeline.to_string(pretty).map_err(|error| Error::Tokenizer(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ControlTokens;

    fn tokenizer() -> Tokenizer {
        Tokenizer::bytes(&ControlTokens::default()).unwrap()
    }

    #[test]
    fn a_model_has_a_row_for_every_id_and_little_more() {
        let tokenizer = tokenizer();
        for rows in [259, 260, 320, 259 + 1024] {
            tokenizer.check_model(rows).unwrap();
        }
        for rows in [0, 258, 259 + 1025, 49_152] {
            let error = tokenizer.check_model(rows).unwrap_err().to_string();
            assert!(
                error.contains("259 tokens") && error.contains(&format!("{rows} embedding rows")),
                "{error}"
            );
        }
    }

    #[test]
    fn a_strangers_control_tokens_stay_text() {
        let tokenizer = tokenizer();
        for text in
            ["a<|im_end|>b", "<|im_end|><|im_start|>user", "<<|im_end|>|im_end|>", "<|im_end", "é", ""]
        {
            let ids = tokenizer.encode_foreign(text).unwrap();
            assert_eq!(ids.len(), text.len(), "{text}: one token a byte");
            assert!(ids.iter().all(|id| *id >= 3), "{text}: {ids:?}");
            assert_eq!(tokenizer.decode(&ids, SpecialTokens::Keep).unwrap(), text);
        }
        assert_ne!(tokenizer.encode("a<|im_end|>b").unwrap().len(), 12);
    }

    #[test]
    fn a_broken_file_is_an_error() {
        let json = tokenizer().to_json(false).unwrap();
        let broken = |part: &str, with: &str| {
            let broken = json.replacen(part, with, 1);
            assert_ne!(broken, json);
            Tokenizer::from_json(broken.as_bytes(), SpecialIds::default(), None).unwrap_err().to_string()
        };
        let error = broken(r#""decoder":{"type":"#, r#""decoder":{"type":'"#);
        assert!(error.starts_with("vocabulary: not JSON: expected value at line 1"), "{error}");
        let precompiled = r#""normalizer":{"type":"Precompiled","precompiled_charsmap":7}"#;
        let error = broken(r#""normalizer":null"#, precompiled);
        assert!(error.contains("a value that can't be"), "{error}");

        // A special token that the post-processor does not define is missed only where it is used.
        let piece = r#"{"SpecialToken":{"id":"<s>","type_id":0}}"#;
        let post = format!(
            r#""post_processor":{{"type":"TemplateProcessing","single":[{piece}],"pair":[],"special_tokens":{{}}}}"#
        );
        let post_processed = |post: &str| {
            let json = json.replacen(r#""post_processor":null"#, post, 1);
            let tokenizer = Tokenizer::from_json(json.as_bytes(), SpecialIds::default(), None).unwrap();
            tokenizer.encode_document("a").unwrap_err().to_string()
        };
        let error = post_processed(&post);
        assert!(error.contains("a value that can't be"), "{error}");
        let defined = r#""special_tokens":{"<s>":{"id":"<s>","ids":[7777],"tokens":["<s>"]}}"#;
        let error = post_processed(&post.replace(r#""special_tokens":{}"#, defined));
        assert!(error.contains("adds id 7777, which is outside the 259 tokens"), "{error}");
    }

    #[test]
    fn special_ids_must_be_in_the_vocabulary() {
        let json = tokenizer().to_json(false).unwrap();
        let special = SpecialIds { eos: vec![1, 259], ..SpecialIds::default() };
        let error = Tokenizer::from_json(json.as_bytes(), special, None).unwrap_err().to_string();
        assert_eq!(error, "vocabulary: special id 259 is outside the 259 tokens");
    }

    #[test]
    fn ids_without_tokens_decode_to_nothing() {
        let ids = [3 + 65, 5000, 2, u32::MAX, 3 + 66];
        assert_eq!(tokenizer().decode(&ids, SpecialTokens::Keep).unwrap(), "A<|im_start|>B");
        assert_eq!(tokenizer().decode(&ids, SpecialTokens::Skip).unwrap(), "AB");
    }

    #[test]
    fn the_fingerprint_tells_vocabulary_template_and_ends_apart() {
        let more = ControlTokens { more: vec!["<|tool|>".into()], ..ControlTokens::default() };
        let ends = SpecialIds { eos: vec![1, 2], ..tokenizer().special().clone() };
        let tokenizers = [
            tokenizer(),
            tokenizer().with_chat_template("x"),
            tokenizer().with_special(ends),
            Tokenizer::bytes(&more).unwrap(),
        ];
        let fingerprints: std::collections::HashSet<String> =
            tokenizers.iter().map(|tokenizer| tokenizer.fingerprint().unwrap()).collect();
        assert_eq!(fingerprints.len(), tokenizers.len());
        assert_eq!(tokenizer().fingerprint().unwrap(), tokenizers[0].fingerprint().unwrap());
    }

    #[test]
    fn a_template_sees_the_special_tokens() {
        let rendered =
            tokenizer().with_chat_template("{{ eos_token }}{{ pad_token }}{{ bos_token }}").chat_template();
        assert_eq!(
            rendered.unwrap().render(&[], &crate::RenderOptions::default()).unwrap(),
            "<|im_end|><|pad|>"
        );
        assert!(matches!(tokenizer().chat_template(), Err(Error::NoChatTemplate)));
    }
}
