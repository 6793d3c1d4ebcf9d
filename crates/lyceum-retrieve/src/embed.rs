//! Texts as unit vectors, by a sentence encoder in the layout of sentence-transformers: mean of the tokens' rows, then length 1.

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use lyceum_kernels::{Level, Pool, Precision};
use lyceum_nn::encoder::{EncoderScratch, TextEncoder};
use serde::{Deserialize, Serialize};
use tokenizers::{Tokenizer, TruncationParams};

use crate::{Error, Result};

/// Which encoder made some vectors: others can't be compared with them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EncoderIdentity {
    /// What it is called by.
    pub name: String,
    /// SHA-256 of its weights.
    pub sha256: String,
    /// Length of a vector.
    pub width: usize,
}

/// A sentence encoder. Each thread encodes texts of its own: small products gain more from that than from sharing one.
pub struct Embedder {
    encoder: TextEncoder,
    tokenizer: Tokenizer,
    identity: EncoderIdentity,
    threads: usize,
    level: Level,
}

/// Tokens that a thread encodes at once.
const BATCH_TOKENS: usize = 2048;

#[derive(Deserialize)]
struct SentenceConfig {
    max_seq_length: usize,
}

#[derive(Deserialize)]
struct PoolingConfig {
    pooling_mode_mean_tokens: bool,
}

impl Embedder {
    /// Reads a model folder. Texts are cut at the length that `sentence_bert_config.json` says.
    ///
    /// # Errors
    /// [`Error::Model`], [`Error::Tokenizer`], [`Error::Io`]; [`Error::Request`] for another pooling than the mean.
    pub fn read(folder: &Path, name: &str, sha256: &str, pool: &Pool, precision: Precision) -> Result<Self> {
        let encoder = TextEncoder::read(folder, pool, precision)?;
        let file = folder.join("tokenizer.json");
        let refuse = |error: tokenizers::Error| Error::Tokenizer(format!("{}: {error}", file.display()));
        let bytes =
            std::fs::read(&file).map_err(|source| Error::Io { doing: "read", path: file.clone(), source })?;
        let mut tokenizer = Tokenizer::from_bytes(bytes).map_err(refuse)?;
        let most = encoder.config().max_position_embeddings;
        let config = |file: &str| std::fs::read(folder.join(file)).ok();
        let sentence = config("sentence_bert_config.json")
            .and_then(|bytes| serde_json::from_slice::<SentenceConfig>(&bytes).ok());
        let pooling = config("1_Pooling/config.json")
            .and_then(|bytes| serde_json::from_slice::<PoolingConfig>(&bytes).ok());
        if pooling.is_some_and(|pooling| !pooling.pooling_mode_mean_tokens) {
            let message = format!("{}: only encoders that pool by the mean are known", folder.display());
            return Err(Error::Request(message));
        }
        let max_length = sentence.map_or(most, |sentence| sentence.max_seq_length).clamp(2, most);
        tokenizer.with_padding(None);
        let truncation = TruncationParams { max_length, ..TruncationParams::default() };
        tokenizer.with_truncation(Some(truncation)).map_err(refuse)?;
        let identity =
            EncoderIdentity { name: name.into(), sha256: sha256.into(), width: encoder.config().hidden_size };
        Ok(Self { encoder, tokenizer, identity, threads: pool.threads(), level: pool.level() })
    }

    /// Which encoder this is.
    #[must_use]
    pub const fn identity(&self) -> &EncoderIdentity {
        &self.identity
    }

    /// The unit vectors of some texts, one after the other. A text's vector does not depend on the others.
    ///
    /// # Errors
    /// [`Error::Tokenizer`], [`Error::Model`].
    pub fn embed(&self, texts: &[&str]) -> Result<Vec<f32>> {
        let width = self.identity.width;
        let encode = |text: &&str| {
            let encoded = self.tokenizer.encode_fast(*text, true);
            encoded
                .map(|encoding| encoding.get_ids().to_vec())
                .map_err(|error| Error::Tokenizer(error.to_string()))
        };
        let shares = texts.len().div_ceil(self.threads).max(1);
        let ids: Vec<Vec<u32>> = std::thread::scope(|scope| {
            let parts: Vec<_> = texts
                .chunks(shares)
                .map(|part| scope.spawn(move || part.iter().map(encode).collect::<Result<Vec<_>>>()))
                .collect();
            let joined = parts.into_iter().map(|part| part.join().map_err(|_| died())?);
            Ok::<_, Error>(joined.collect::<Result<Vec<_>>>()?.concat())
        })?;
        // Longest first: batches fill evenly, and the last ones are short.
        let mut order: Vec<usize> = (0..ids.len()).collect();
        order.sort_by_key(|&text| std::cmp::Reverse(ids[text].len()));
        let mut batches = vec![Vec::new()];
        let mut tokens = 0;
        for text in order {
            let len = ids[text].len();
            if tokens + len > BATCH_TOKENS && tokens > 0 {
                batches.push(Vec::new());
                tokens = 0;
            }
            tokens += len;
            if let Some(last) = batches.last_mut() {
                last.push(text);
            }
        }
        let next = AtomicUsize::new(0);
        let done = Mutex::new(vec![0.0; texts.len() * width]);
        let work = || -> Result<()> {
            let pool = Pool::with_level(1, self.level);
            let mut scratch = EncoderScratch::default();
            while let Some(batch) = batches.get(next.fetch_add(1, Ordering::Relaxed)) {
                let sequences: Vec<&[u32]> = batch.iter().map(|&text| ids[text].as_slice()).collect();
                let mut rows = self.encoder.encode(&pool, &sequences, &mut scratch)?;
                for (&text, sequence) in batch.iter().zip(&sequences) {
                    let (own, rest) = rows.split_at(sequence.len() * width);
                    rows = rest;
                    let vector = mean_direction(own, width);
                    let mut done = done.lock().map_err(|_| died())?;
                    done[text * width..(text + 1) * width].copy_from_slice(&vector);
                }
            }
            Ok(())
        };
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..self.threads.min(batches.len())).map(|_| scope.spawn(work)).collect();
            threads.into_iter().try_for_each(|thread| thread.join().map_err(|_| died())?)
        })?;
        done.into_inner().map_err(|_| died())
    }
}

fn died() -> Error {
    Error::Request("a thread of the encoder ended early; the text it worked on may be damaged".into())
}

/// The mean of some rows, made length 1. No rows give 0.
fn mean_direction(rows: &[f32], width: usize) -> Vec<f32> {
    let mut sum = vec![0.0f32; width];
    for row in rows.chunks_exact(width) {
        sum.iter_mut().zip(row).for_each(|(sum, x)| *sum += x);
    }
    let length = sum.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
    // sentence-transformers divides by at least 1e-12.
    let scale = (1.0 / length.max(1e-12)) as f32;
    sum.iter_mut().for_each(|x| *x *= scale);
    sum
}

/// The cosine of two unit vectors.
#[must_use]
pub fn cosine(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}
