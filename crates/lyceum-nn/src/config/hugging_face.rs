//! `config.json` as it is found in the wild: old and new spellings, absent fields, options that must be refused.

use super::{DecoderConfig, Family, Llama3Scaling, bounds, ensure, within};
use crate::{Error, Result};
use serde::Deserialize;

/// The fields that decide the mathematics. Sizes are u32, so that products of two cannot overflow.
#[derive(Deserialize)]
pub(super) struct RawConfig {
    #[serde(default)]
    architectures: Option<Vec<String>>,
    #[serde(default)]
    model_type: Option<String>,
    vocab_size: u32,
    hidden_size: u32,
    intermediate_size: u32,
    num_hidden_layers: u32,
    num_attention_heads: u32,
    #[serde(default)]
    num_key_value_heads: Option<u32>,
    #[serde(default)]
    head_dim: Option<u32>,
    #[serde(default)]
    hidden_act: Option<String>,
    #[serde(default)]
    max_position_embeddings: Option<u32>,
    #[serde(default)]
    rms_norm_eps: Option<f64>,
    #[serde(default)]
    rope_theta: Option<f64>,
    #[serde(default)]
    rope_scaling: Option<RawRope>,
    #[serde(default)]
    rope_parameters: Option<RawRope>,
    #[serde(default)]
    partial_rotary_factor: Option<f64>,
    #[serde(default)]
    tie_word_embeddings: Option<bool>,
    #[serde(default)]
    attention_bias: Option<bool>,
    #[serde(default)]
    mlp_bias: Option<bool>,
    #[serde(default)]
    use_sliding_window: Option<bool>,
    #[serde(default)]
    bos_token_id: Option<TokenIds>,
    #[serde(default)]
    eos_token_id: Option<TokenIds>,
    #[serde(default)]
    pad_token_id: Option<TokenIds>,
}

/// `rope_scaling` (older files) or `rope_parameters` (newer, which also holds theta).
#[derive(Deserialize)]
struct RawRope {
    #[serde(default, alias = "type")]
    rope_type: Option<String>,
    #[serde(default)]
    rope_theta: Option<f64>,
    #[serde(default)]
    factor: Option<f64>,
    #[serde(default)]
    low_freq_factor: Option<f64>,
    #[serde(default)]
    high_freq_factor: Option<f64>,
    #[serde(default)]
    original_max_position_embeddings: Option<u32>,
}

/// One id or several; some files write -1 for "none".
#[derive(Deserialize)]
#[serde(untagged)]
enum TokenIds {
    One(i64),
    Many(Vec<i64>),
}

impl TokenIds {
    fn valid(ids: Option<Self>) -> Vec<u32> {
        let ids = match ids {
            None => Vec::new(),
            Some(Self::One(id)) => vec![id],
            Some(Self::Many(ids)) => ids,
        };
        ids.into_iter().filter(|&id| id >= 0).map(|id| u32::try_from(id).unwrap_or(u32::MAX)).collect()
    }
}

impl RawRope {
    fn scaling(&self) -> Result<Option<Llama3Scaling>> {
        match self.rope_type.as_deref() {
            None | Some("default") => Ok(None),
            Some("llama3") => {
                let need = |name: &str, value: Option<f64>| {
                    value.ok_or_else(|| Error::Config(format!("rope type llama3 lacks {name}")))
                };
                let original = self.original_max_position_embeddings.ok_or_else(|| {
                    Error::Config("rope type llama3 lacks original_max_position_embeddings".into())
                })?;
                Ok(Some(Llama3Scaling {
                    factor: need("factor", self.factor)?,
                    low_freq_factor: need("low_freq_factor", self.low_freq_factor)?,
                    high_freq_factor: need("high_freq_factor", self.high_freq_factor)?,
                    original_max_positions: original as usize,
                }))
            }
            Some(other) => Err(Error::Config(format!(
                "rope type {other:?} is not implemented; \"default\" and \"llama3\" are"
            ))),
        }
    }
}

impl RawConfig {
    fn family(&self) -> Result<Family> {
        let named = self.architectures.iter().flatten().chain(&self.model_type);
        let mut names = named.map(String::as_str).peekable();
        if names.peek().is_none() {
            return Err(Error::Config("neither architectures nor model_type is given".into()));
        }
        let all: Vec<&str> = names.collect();
        all.iter().find_map(|name| Family::from_name(name)).ok_or_else(|| {
            Error::Config(format!(
                "architecture {} is not implemented; LlamaForCausalLM, Qwen2ForCausalLM and Qwen3ForCausalLM are",
                all.join(" / ")
            ))
        })
    }

    fn refuse_unsupported(&self) -> Result<()> {
        ensure(self.hidden_act.as_deref().is_none_or(|act| act == "silu"), || {
            format!("hidden_act {:?} is not implemented; silu is", self.hidden_act.as_deref().unwrap_or(""))
        })?;
        for (name, set) in [
            ("attention_bias", self.attention_bias),
            ("mlp_bias", self.mlp_bias),
            ("use_sliding_window", self.use_sliding_window),
        ] {
            ensure(set != Some(true), || format!("{name} = true is not implemented"))?;
        }
        ensure(self.partial_rotary_factor.is_none_or(|factor| factor == 1.0), || {
            "partial_rotary_factor other than 1 is not implemented".into()
        })
    }

    pub(super) fn into_config(self) -> Result<DecoderConfig> {
        let family = self.family()?;
        self.refuse_unsupported()?;
        let rope = self.rope_parameters.or(self.rope_scaling);
        let scaling = rope.as_ref().map_or(Ok(None), RawRope::scaling)?;
        let heads = self.num_attention_heads as usize;
        let hidden = self.hidden_size as usize;
        let head_dim = match (self.head_dim, family) {
            (Some(dim), _) => dim as usize,
            (None, Family::Qwen3) => 128, // the default of transformers' Qwen3Config
            (None, _) => {
                within("num_attention_heads", heads, bounds::HEADS)?;
                ensure(hidden.is_multiple_of(heads), || {
                    format!("hidden_size ({hidden}) is not a multiple of num_attention_heads ({heads})")
                })?;
                hidden / heads
            }
        };
        let config = DecoderConfig {
            family,
            vocab_size: self.vocab_size as usize,
            hidden_size: hidden,
            intermediate_size: self.intermediate_size as usize,
            num_layers: self.num_hidden_layers as usize,
            num_heads: heads,
            num_kv_heads: self.num_key_value_heads.map_or(heads, |kv| kv as usize),
            head_dim,
            tied_embeddings: self.tie_word_embeddings.unwrap_or(false),
            rms_norm_eps: self.rms_norm_eps.unwrap_or(1e-6),
            rope_theta: rope.and_then(|rope| rope.rope_theta).or(self.rope_theta).unwrap_or(10_000.0),
            rope_scaling: scaling,
            max_positions: self.max_position_embeddings.unwrap_or(2048) as usize,
            bos: TokenIds::valid(self.bos_token_id).first().copied(),
            eos: TokenIds::valid(self.eos_token_id),
            pad: TokenIds::valid(self.pad_token_id).first().copied(),
        };
        config.validate()?;
        Ok(config)
    }
}
