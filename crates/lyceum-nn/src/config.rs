//! The shape of a decoder, read from and written as Hugging Face `config.json`.
//!
//! One struct describes the Llama family: Llama and SmolLM2, Qwen2 / 2.5 (biases on q, k, v) and Qwen3 (an RMS norm
//! on every query and key head, a head width of its own). A configuration that exists has been validated: sizes
//! divide, nothing overflows, and no option is set which the decoder would silently ignore.

mod hugging_face;

use crate::{Error, Result};
use hugging_face::RawConfig;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Which published architecture the weights belong to; decides tensor names and the name written to `config.json`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// `LlamaForCausalLM`: Llama 2 and 3, SmolLM2, the tiny presets.
    Llama,
    /// `Qwen2ForCausalLM`: biases on the q, k and v projections.
    Qwen2,
    /// `Qwen3ForCausalLM`: RMS norm on each query and key head before rope.
    Qwen3,
}

impl Family {
    /// The class name in `config.json`'s `architectures`.
    pub fn architecture(self) -> &'static str {
        match self {
            Self::Llama => "LlamaForCausalLM",
            Self::Qwen2 => "Qwen2ForCausalLM",
            Self::Qwen3 => "Qwen3ForCausalLM",
        }
    }

    /// The `model_type` of `config.json`, which is also GGUF's `general.architecture`.
    pub fn model_type(self) -> &'static str {
        match self {
            Self::Llama => "llama",
            Self::Qwen2 => "qwen2",
            Self::Qwen3 => "qwen3",
        }
    }

    /// The family named by a `model_type`, a GGUF architecture or a class name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Llama, Self::Qwen2, Self::Qwen3]
            .into_iter()
            .find(|family| name == family.architecture() || name == family.model_type())
    }
}

/// Llama-3's stretching of low rope frequencies (`rope_type = "llama3"`).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Llama3Scaling {
    /// Low frequencies are divided by this.
    pub factor: f64,
    /// Wavelengths longer than `original_max_positions / low_freq_factor` are scaled fully.
    pub low_freq_factor: f64,
    /// Wavelengths shorter than `original_max_positions / high_freq_factor` are left alone.
    pub high_freq_factor: f64,
    /// The context length before stretching.
    #[serde(rename = "original_max_position_embeddings")]
    pub original_max_positions: usize,
}

/// The shape of a decoder of the Llama family. Sizes count elements.
#[derive(Debug, Clone, PartialEq)]
pub struct DecoderConfig {
    /// Architecture.
    pub family: Family,
    /// Rows of the embedding, and of the logits.
    pub vocab_size: usize,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Width of the feed-forward layer (gate and up each have this many rows).
    pub intermediate_size: usize,
    /// Decoder layers.
    pub num_layers: usize,
    /// Query heads.
    pub num_heads: usize,
    /// Key and value heads; divides `num_heads`.
    pub num_kv_heads: usize,
    /// Width of one head; even. `num_heads * head_dim` need not be `hidden_size`.
    pub head_dim: usize,
    /// Whether the logits use the embedding matrix (no `lm_head.weight`).
    pub tied_embeddings: bool,
    /// Epsilon of every RMS norm.
    pub rms_norm_eps: f64,
    /// Base of the rope frequencies.
    pub rope_theta: f64,
    /// Llama-3 frequency scaling, if any.
    pub rope_scaling: Option<Llama3Scaling>,
    /// Longest sequence the model was made for.
    pub max_positions: usize,
    /// Token that starts a document.
    pub bos: Option<u32>,
    /// Tokens that end generation.
    pub eos: Vec<u32>,
    /// Token that fills; not used by Lyceum (it packs), kept for other programs.
    pub pad: Option<u32>,
}

/// Bounds that no published model of these families comes near; beyond them a file is taken for damaged or hostile.
mod bounds {
    pub const VOCAB: usize = 1 << 22;
    pub const WIDTH: usize = 1 << 18;
    pub const LAYERS: usize = 1 << 12;
    pub const HEADS: usize = 1 << 12;
    pub const HEAD_DIM: usize = 1 << 12;
    pub const POSITIONS: usize = 1 << 28;
}

impl DecoderConfig {
    /// Biases on the q, k and v projections (Qwen2).
    pub fn qkv_bias(&self) -> bool {
        self.family == Family::Qwen2
    }

    /// RMS norm over each query and key head before rope (Qwen3).
    pub fn qk_norm(&self) -> bool {
        self.family == Family::Qwen3
    }

    /// Rows of `q_proj`: `num_heads * head_dim`.
    pub fn query_width(&self) -> usize {
        self.num_heads * self.head_dim
    }

    /// Rows of `k_proj` and of `v_proj`: `num_kv_heads * head_dim`.
    pub fn kv_width(&self) -> usize {
        self.num_kv_heads * self.head_dim
    }

    /// Number of weights, counting tied embeddings once. No heads of ours (value, LoRA).
    pub fn parameter_count(&self) -> usize {
        let (hidden, ffn) = (self.hidden_size, self.intermediate_size);
        let (query, kv) = (self.query_width(), self.kv_width());
        let attention = hidden * (query + 2 * kv) + query * hidden;
        let biases = if self.qkv_bias() { query + 2 * kv } else { 0 };
        let head_norms = if self.qk_norm() { 2 * self.head_dim } else { 0 };
        let layer = attention + biases + head_norms + 3 * hidden * ffn + 2 * hidden;
        let embeddings = self.vocab_size * hidden * if self.tied_embeddings { 1 } else { 2 };
        self.num_layers * layer + embeddings + hidden
    }

    /// The rope frequencies, `head_dim / 2` of them, highest first: `theta^(-2i/head_dim)`, low ones stretched by the
    /// Llama-3 rule (the function `_compute_llama3_parameters` of transformers) when the configuration has it.
    pub fn rope_frequencies(&self) -> Vec<f32> {
        let dim = self.head_dim;
        (0..dim / 2)
            .map(|i| {
                // Exponent, power and its reciprocal are each rounded to f32, as in PyTorch: at a hundred positions a last
                // bit of the frequency is seen in the gradient of the first layer.
                let exponent = f64::from((2 * i) as f32 / dim as f32);
                let frequency = 1.0 / self.rope_theta.powf(exponent) as f32;
                let stretch = |scaling: Llama3Scaling| scaling.stretch(f64::from(frequency)) as f32;
                self.rope_scaling.map_or(frequency, stretch)
            })
            .collect()
    }

    /// Reads the text of a `config.json`.
    ///
    /// # Errors
    /// [`Error::Config`] for malformed JSON, an unknown architecture, an option that would change the mathematics and
    /// is not implemented (biases elsewhere, sliding windows, other rope types) and for sizes that cannot be right.
    pub fn from_json(text: &str) -> Result<Self> {
        let raw: RawConfig =
            serde_json::from_str(text).map_err(|e| Error::Config(format!("not a config.json: {e}")))?;
        raw.into_config()
    }

    /// The value of a `config.json` which transformers loads; `dtype` is the weights' type, e.g. "bfloat16".
    pub fn to_json(&self, dtype: &str) -> Value {
        let mut config = json!({
            "architectures": [self.family.architecture()],
            "model_type": self.family.model_type(),
            "vocab_size": self.vocab_size,
            "hidden_size": self.hidden_size,
            "intermediate_size": self.intermediate_size,
            "num_hidden_layers": self.num_layers,
            "num_attention_heads": self.num_heads,
            "num_key_value_heads": self.num_kv_heads,
            "head_dim": self.head_dim,
            "hidden_act": "silu",
            "max_position_embeddings": self.max_positions,
            "rms_norm_eps": self.rms_norm_eps,
            "rope_theta": self.rope_theta,
            "tie_word_embeddings": self.tied_embeddings,
            "attention_dropout": 0.0,
            "bos_token_id": self.bos,
            "eos_token_id": match self.eos.as_slice() { [] => Value::Null, [one] => json!(one), many => json!(many) },
            "pad_token_id": self.pad,
            "torch_dtype": dtype,
        });
        config["rope_scaling"] = match self.rope_scaling {
            None => Value::Null,
            Some(scaling) => {
                let mut value = json!(scaling);
                value["rope_type"] = json!("llama3");
                value
            }
        };
        match self.family {
            Family::Llama => {
                config["attention_bias"] = json!(false);
                config["mlp_bias"] = json!(false);
            }
            Family::Qwen2 => config["use_sliding_window"] = json!(false),
            Family::Qwen3 => {
                config["attention_bias"] = json!(false);
                config["use_sliding_window"] = json!(false);
            }
        }
        config
    }

    /// Checks that the sizes describe a model that can be built.
    ///
    /// # Errors
    /// [`Error::Config`] naming the field, its value and what was expected.
    pub fn validate(&self) -> Result<()> {
        within("vocab_size", self.vocab_size, bounds::VOCAB)?;
        within("hidden_size", self.hidden_size, bounds::WIDTH)?;
        within("intermediate_size", self.intermediate_size, bounds::WIDTH)?;
        within("num_hidden_layers", self.num_layers, bounds::LAYERS)?;
        within("num_attention_heads", self.num_heads, bounds::HEADS)?;
        within("num_key_value_heads", self.num_kv_heads, bounds::HEADS)?;
        within("head_dim", self.head_dim, bounds::HEAD_DIM)?;
        within("max_position_embeddings", self.max_positions, bounds::POSITIONS)?;
        within("num_attention_heads * head_dim", self.query_width(), bounds::WIDTH)?;
        ensure(self.head_dim.is_multiple_of(2), || {
            format!("head_dim is {}; rope needs an even one", self.head_dim)
        })?;
        ensure(self.num_heads.is_multiple_of(self.num_kv_heads), || {
            format!(
                "num_attention_heads ({}) is not a multiple of num_key_value_heads ({})",
                self.num_heads, self.num_kv_heads
            )
        })?;
        positive("rms_norm_eps", self.rms_norm_eps)?;
        positive("rope_theta", self.rope_theta)?;
        if let Some(scaling) = self.rope_scaling {
            scaling.validate()?;
        }
        for &token in self.eos.iter().chain(&self.bos) {
            ensure((token as usize) < self.vocab_size, || {
                format!("token id {token} (bos or eos) is outside the vocabulary of {}", self.vocab_size)
            })?;
        }
        Ok(())
    }
}

impl Llama3Scaling {
    fn stretch(self, frequency: f64) -> f64 {
        let wavelength = 2.0 * std::f64::consts::PI / frequency;
        let original = self.original_max_positions as f64;
        if wavelength < original / self.high_freq_factor {
            return frequency;
        }
        if wavelength > original / self.low_freq_factor {
            return frequency / self.factor;
        }
        let blend =
            (original / wavelength - self.low_freq_factor) / (self.high_freq_factor - self.low_freq_factor);
        (1.0 - blend) * frequency / self.factor + blend * frequency
    }

    fn validate(self) -> Result<()> {
        positive("rope factor", self.factor)?;
        positive("rope low_freq_factor", self.low_freq_factor)?;
        positive("rope high_freq_factor", self.high_freq_factor)?;
        within("original_max_position_embeddings", self.original_max_positions, bounds::POSITIONS)?;
        ensure(self.high_freq_factor > self.low_freq_factor, || {
            format!(
                "rope high_freq_factor ({}) must be above low_freq_factor ({})",
                self.high_freq_factor, self.low_freq_factor
            )
        })
    }
}

fn ensure(holds: bool, problem: impl FnOnce() -> String) -> Result<()> {
    if holds { Ok(()) } else { Err(Error::Config(problem())) }
}

fn within(name: &str, value: usize, largest: usize) -> Result<()> {
    ensure((1..=largest).contains(&value), || format!("{name} is {value}; expected 1 to {largest}"))
}

fn positive(name: &str, value: f64) -> Result<()> {
    // Kernels work in f32: a value which underflows or overflows there is as bad as zero.
    let usable = value > 0.0 && (value as f32) > 0.0 && (value as f32).is_finite();
    ensure(usable, || format!("{name} is {value}; expected a positive finite number"))
}
