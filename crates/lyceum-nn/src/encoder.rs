//! BERT's encoder (Devlin et al. 2019) over the kernels, inference only: token ids in, a hidden row for each token out.
//!
//! Sequences are packed, not padded: linear layers see the tokens of all sequences as rows of one matrix, attention sees one
//! sequence at a time. A sequence's rows do not depend on what else is in the batch.

use std::path::Path;

use lyceum_kernels::{
    Gelu, Mat, Packed, Pool, Precision, add_bias, add_scaled, gelu, gemm, gemm_packed, layer_norm, softmax,
};
use serde::Deserialize;

use crate::checkpoint::{TensorStore, open_safetensors};
use crate::{Error, Result};

/// The shape of an encoder: Hugging Face's `config.json` of a `bert`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct EncoderConfig {
    /// `bert`.
    pub model_type: String,
    /// Width of a row.
    pub hidden_size: usize,
    /// Width inside the feed-forward layers.
    pub intermediate_size: usize,
    /// Attention heads.
    pub num_attention_heads: usize,
    /// Layers.
    pub num_hidden_layers: usize,
    /// Longest sequence.
    pub max_position_embeddings: usize,
    /// Tokens.
    pub vocab_size: usize,
    /// Added to variances.
    pub layer_norm_eps: f32,
    /// The activation: `gelu`.
    pub hidden_act: String,
}

impl EncoderConfig {
    /// Reads a `config.json`.
    ///
    /// # Errors
    /// [`Error::Config`] for what is no BERT of a sensible shape; [`Error::Io`].
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read(path).map_err(|source| Error::Io {
            action: "read",
            path: path.to_path_buf(),
            source,
        })?;
        let refuse = |problem: String| Error::Config(format!("{}: {problem}", path.display()));
        let config: Self = serde_json::from_slice(&text).map_err(|error| refuse(error.to_string()))?;
        if config.model_type != "bert" || config.hidden_act != "gelu" {
            return Err(refuse(format!(
                "a {} with {} is no text encoder that is known; a bert with gelu is",
                config.model_type, config.hidden_act
            )));
        }
        let Self { hidden_size, num_attention_heads: heads, .. } = config;
        let sizes = [
            (hidden_size, 1 << 16),
            (config.intermediate_size, 1 << 18),
            (heads, 1 << 10),
            (config.num_hidden_layers, 1 << 10),
            (config.max_position_embeddings, 1 << 20),
            (config.vocab_size, 1 << 24),
        ];
        if sizes.iter().any(|&(size, most)| size == 0 || size > most) || hidden_size % heads != 0 {
            return Err(refuse(
                "its sizes make no encoder: none may be 0, heads must divide hidden_size".into(),
            ));
        }
        Ok(config)
    }
}

/// A linear layer: packed weights and a bias.
struct Linear {
    weights: Packed,
    bias: Vec<f32>,
}

impl Linear {
    /// Layers side by side, read one after the other.
    fn read(
        store: &mut TensorStore,
        pool: &Pool,
        precision: Precision,
        names: &[String],
        (outputs, inputs): (usize, usize),
    ) -> Result<Self> {
        let (mut weights, mut bias) = (Vec::new(), Vec::new());
        for name in names {
            let mut matrix = vec![0.0; outputs * inputs];
            store.read_into(&format!("{name}.weight"), &mut matrix)?;
            weights.extend(matrix);
            let mut row = vec![0.0; outputs];
            store.read_into(&format!("{name}.bias"), &mut row)?;
            bias.extend(row);
        }
        let rows = outputs * names.len();
        Ok(Self { weights: Packed::pack(pool, precision, Mat::f32(&weights, rows, inputs)), bias })
    }

    /// out = x W^T + b, for rows of x.
    fn apply(&self, pool: &Pool, x: &[f32], out: &mut Vec<f32>) {
        let (inputs, outputs) = (self.weights.cols(), self.weights.rows());
        let rows = x.len() / inputs;
        out.clear();
        out.resize(rows * outputs, 0.0);
        gemm_packed(pool, Mat::f32(x, rows, inputs), &self.weights, out, outputs, false);
        add_bias(pool, &self.bias, out);
    }
}

/// A layer norm's gain and shift.
struct Norm {
    weight: Vec<f32>,
    bias: Vec<f32>,
}

impl Norm {
    fn read(store: &mut TensorStore, name: &str, width: usize) -> Result<Self> {
        let (mut weight, mut bias) = (vec![0.0; width], vec![0.0; width]);
        store.read_into(&format!("{name}.weight"), &mut weight)?;
        store.read_into(&format!("{name}.bias"), &mut bias)?;
        Ok(Self { weight, bias })
    }
}

struct Layer {
    qkv: Linear,
    out: Linear,
    attention_norm: Norm,
    up: Linear,
    down: Linear,
    norm: Norm,
}

/// An encoder.
pub struct TextEncoder {
    config: EncoderConfig,
    /// vocabulary x hidden.
    words: Vec<f32>,
    /// positions x hidden, with the embedding of the first segment added.
    positions: Vec<f32>,
    norm: Norm,
    layers: Vec<Layer>,
}

/// Buffers of one thread, kept from batch to batch.
#[derive(Default)]
pub struct EncoderScratch {
    hidden: Vec<f32>,
    normed: Vec<f32>,
    qkv: Vec<f32>,
    mixed: Vec<f32>,
    wide: Vec<f32>,
    active: Vec<f32>,
    scores: Vec<f32>,
    mean: Vec<f32>,
    inverse: Vec<f32>,
}

impl TextEncoder {
    /// Reads a model folder: `config.json` and `model.safetensors`.
    ///
    /// # Errors
    /// [`Error::Config`], [`Error::Checkpoint`], [`Error::Io`].
    pub fn read(folder: &Path, pool: &Pool, precision: Precision) -> Result<Self> {
        let config = EncoderConfig::read(&folder.join("config.json"))?;
        let (mut store, _) = open_safetensors(&folder.join("model.safetensors"))?;
        let prefix =
            if store.shape("bert.embeddings.word_embeddings.weight").is_some() { "bert." } else { "" };
        let (width, inner) = (config.hidden_size, config.intermediate_size);
        let table = |store: &mut TensorStore, name: &str, rows: usize| {
            let mut table = vec![0.0; rows * width];
            store.read_into(&format!("{prefix}embeddings.{name}.weight"), &mut table)?;
            Ok::<_, Error>(table)
        };
        let words = table(&mut store, "word_embeddings", config.vocab_size)?;
        let mut positions = table(&mut store, "position_embeddings", config.max_position_embeddings)?;
        let segments = store.read(&format!("{prefix}embeddings.token_type_embeddings.weight"))?;
        if segments.len() < width {
            return Err(Error::Config("token_type_embeddings is narrower than hidden_size".into()));
        }
        for row in positions.chunks_exact_mut(width) {
            row.iter_mut().zip(&segments).for_each(|(position, segment)| *position += segment);
        }
        let norm = Norm::read(&mut store, &format!("{prefix}embeddings.LayerNorm"), width)?;
        let mut layers = Vec::with_capacity(config.num_hidden_layers);
        for number in 0..config.num_hidden_layers {
            let name = |part: &str| format!("{prefix}encoder.layer.{number}.{part}");
            let mut linear = |parts: &[&str], shape| {
                let names: Vec<String> = parts.iter().map(|part| name(part)).collect();
                Linear::read(&mut store, pool, precision, &names, shape)
            };
            let query = ["attention.self.query", "attention.self.key", "attention.self.value"];
            let qkv = linear(&query, (width, width))?;
            let out = linear(&["attention.output.dense"], (width, width))?;
            let up = linear(&["intermediate.dense"], (inner, width))?;
            let down = linear(&["output.dense"], (width, inner))?;
            let attention_norm = Norm::read(&mut store, &name("attention.output.LayerNorm"), width)?;
            let norm = Norm::read(&mut store, &name("output.LayerNorm"), width)?;
            layers.push(Layer { qkv, out, attention_norm, up, down, norm });
        }
        Ok(Self { config, words, positions, norm, layers })
    }

    /// The encoder's shape.
    #[must_use]
    pub const fn config(&self) -> &EncoderConfig {
        &self.config
    }

    /// The hidden rows of all tokens of some sequences, one sequence after the other: tokens x hidden.
    ///
    /// # Errors
    /// [`Error::Input`] for an unknown token or a sequence that is too long.
    pub fn encode<'s>(
        &self,
        pool: &Pool,
        sequences: &[&[u32]],
        scratch: &'s mut EncoderScratch,
    ) -> Result<&'s [f32]> {
        let width = self.config.hidden_size;
        let s = scratch;
        s.hidden.clear();
        for sequence in sequences {
            if sequence.len() > self.config.max_position_embeddings {
                let (len, most) = (sequence.len(), self.config.max_position_embeddings);
                return Err(Error::Input(format!("{len} tokens; this encoder reads {most} at most")));
            }
            for (&id, position) in sequence.iter().zip(self.positions.chunks_exact(width)) {
                let at = id as usize * width;
                let Some(word) = self.words.get(at..at + width) else {
                    return Err(Error::Input(format!("token {id} is not in the encoder's vocabulary")));
                };
                s.hidden.extend(word.iter().zip(position).map(|(word, position)| word + position));
            }
        }
        self.normalise(pool, &self.norm, s);
        for layer in &self.layers {
            layer.qkv.apply(pool, &s.hidden, &mut s.qkv);
            self.attend(pool, sequences, s);
            layer.out.apply(pool, &s.mixed, &mut s.active);
            add_scaled(pool, 1.0, &s.active, &mut s.hidden);
            self.normalise(pool, &layer.attention_norm, s);
            layer.up.apply(pool, &s.hidden, &mut s.wide);
            s.active.clear();
            s.active.resize(s.wide.len(), 0.0);
            gelu(pool, Gelu::Erf, &s.wide, &mut s.active);
            layer.down.apply(pool, &s.active, &mut s.wide);
            add_scaled(pool, 1.0, &s.wide, &mut s.hidden);
            self.normalise(pool, &layer.norm, s);
        }
        Ok(&s.hidden)
    }

    fn normalise(&self, pool: &Pool, norm: &Norm, s: &mut EncoderScratch) {
        let rows = s.hidden.len() / self.config.hidden_size;
        s.normed.resize(s.hidden.len(), 0.0);
        s.mean.resize(rows, 0.0);
        s.inverse.resize(rows, 0.0);
        let eps = self.config.layer_norm_eps;
        layer_norm(
            pool,
            &s.hidden,
            &norm.weight,
            &norm.bias,
            eps,
            &mut s.normed,
            &mut s.mean,
            &mut s.inverse,
        );
        std::mem::swap(&mut s.hidden, &mut s.normed);
    }

    /// Every token of a sequence attends to all of its tokens.
    fn attend(&self, pool: &Pool, sequences: &[&[u32]], s: &mut EncoderScratch) {
        let (width, heads) = (self.config.hidden_size, self.config.num_attention_heads);
        let head = width / heads;
        s.mixed.clear();
        s.mixed.resize(s.hidden.len(), 0.0);
        let mut first = 0;
        for sequence in sequences {
            let tokens = sequence.len();
            if tokens == 0 {
                continue;
            }
            let rows = &s.qkv[first * 3 * width..(first + tokens) * 3 * width];
            let mixed = &mut s.mixed[first * width..(first + tokens) * width];
            let part = |which: usize, h: usize| {
                Mat::f32(&rows[which * width + h * head..], tokens, head).with_stride(3 * width)
            };
            s.scores.resize(tokens * tokens, 0.0);
            for h in 0..heads {
                gemm(pool, Precision::F32, part(0, h), part(1, h).t(), &mut s.scores, tokens, false);
                lyceum_kernels::scale(pool, 1.0 / (head as f32).sqrt(), &mut s.scores);
                softmax(pool, tokens, &mut s.scores);
                let weights = Mat::f32(&s.scores, tokens, tokens);
                gemm(pool, Precision::F32, weights, part(2, h), &mut mixed[h * head..], width, false);
            }
            first += tokens;
        }
    }
}
