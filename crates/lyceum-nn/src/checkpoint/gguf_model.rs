//! What a GGUF file says about its model, in Hugging Face's terms: configuration, tensor names, tokenizer.

use super::gguf::{Gguf, Value};
use super::tensor_store::{StoredTensor, TensorStore};
use crate::config::{DecoderConfig, Family, Llama3Scaling};
use crate::{Error, Result};

/// The tokenizer a GGUF file carries; arrays are indexed by token id.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct GgufTokenizer {
    /// `tokenizer.ggml.model`: "gpt2" (byte-level BPE), "llama" (sentencepiece), ...
    pub model: String,
    /// `tokenizer.ggml.pre`: the name of the splitting rule, such as "smollm".
    pub pre: Option<String>,
    /// Token texts, in the model's own spelling of bytes.
    pub tokens: Vec<String>,
    /// 1 normal, 2 unknown, 3 control, 4 user-defined, 5 unused, 6 byte; empty if not given.
    pub token_types: Vec<i32>,
    /// Sentencepiece scores; empty if not given.
    pub scores: Vec<f32>,
    /// BPE merges, "left right", best first.
    pub merges: Vec<String>,
    /// Start of text.
    pub bos: Option<u32>,
    /// End of text.
    pub eos: Option<u32>,
    /// End of turn.
    pub eot: Option<u32>,
    /// Unknown token.
    pub unknown: Option<u32>,
    /// Padding.
    pub pad: Option<u32>,
    /// Whether encoding puts `bos` first.
    pub add_bos: Option<bool>,
    /// Whether encoding puts a space first (sentencepiece).
    pub add_space_prefix: Option<bool>,
    /// Jinja source of the chat template.
    pub chat_template: Option<String>,
}

impl GgufTokenizer {
    /// The tokenizer in `gguf`'s metadata; `None` if there is none.
    pub fn from_gguf(gguf: &Gguf) -> Option<Self> {
        let key = |name: &str| format!("tokenizer.ggml.{name}");
        let id = |name: &str| gguf.integer(&key(name)).and_then(|id| u32::try_from(id).ok());
        let string = |name: &str| gguf.string(&key(name)).map(str::to_owned);
        let strings = |name: &str| gguf.strings(&key(name)).map(<[String]>::to_vec);
        Some(Self {
            model: string("model")?,
            pre: string("pre"),
            tokens: strings("tokens")?,
            token_types: match gguf.metadata.get(&key("token_type")) {
                Some(Value::Signeds(types)) => types.iter().map(|&t| t as i32).collect(),
                Some(Value::Unsigneds(types)) => types.iter().map(|&t| t as i32).collect(),
                _ => Vec::new(),
            },
            scores: match gguf.metadata.get(&key("scores")) {
                Some(Value::Floats(scores)) => scores.iter().map(|&s| s as f32).collect(),
                _ => Vec::new(),
            },
            merges: strings("merges").unwrap_or_default(),
            bos: id("bos_token_id"),
            eos: id("eos_token_id"),
            eot: id("eot_token_id"),
            unknown: id("unknown_token_id"),
            pad: id("padding_token_id"),
            add_bos: gguf.bool(&key("add_bos_token")),
            add_space_prefix: gguf.bool(&key("add_space_prefix")),
            chat_template: gguf.string("tokenizer.chat_template").map(str::to_owned),
        })
    }
}

/// Rope factors of Llama-3 models, one for each frequency, stored as a tensor.
const ROPE_FACTORS: &str = "rope_freqs.weight";

/// The configuration of the model in `gguf`. `store` holds its tensors under GGUF names.
///
/// # Errors
/// [`Error::Config`] for other architectures, missing keys, impossible sizes or rope rules that are not implemented.
pub(crate) fn config_of(gguf: &Gguf, store: &mut TensorStore) -> Result<DecoderConfig> {
    let architecture = gguf.string("general.architecture").unwrap_or_default();
    let family = Family::from_name(architecture).ok_or_else(|| {
        Error::Config(format!(
            "GGUF architecture {architecture:?} is not implemented; llama, qwen2 and qwen3 are"
        ))
    })?;
    let key = |name: &str| format!("{architecture}.{name}");
    let optional =
        |name: &str| gguf.integer(&key(name)).map(|value| usize::try_from(value).unwrap_or(usize::MAX));
    let required = |name: &str| {
        optional(name)
            .ok_or_else(|| Error::Config(format!("GGUF metadata lacks the integer {:?}", key(name))))
    };
    let scaling = gguf.string(&key("rope.scaling.type")).unwrap_or("none");
    if scaling != "none" {
        return Err(Error::Config(format!("rope scaling {scaling:?} is not implemented for GGUF")));
    }

    let hidden_size = required("embedding_length")?;
    let num_heads = required("attention.head_count")?;
    let head_dim = match optional("attention.key_length") {
        Some(dim) => dim,
        None => hidden_size.checked_div(num_heads).unwrap_or(0),
    };
    for (name, expected) in [("rope.dimension_count", head_dim), ("attention.value_length", head_dim)] {
        if let Some(other) = optional(name).filter(|&n| n != expected) {
            return Err(Error::Config(format!("{} is {other}, not the head width {expected}", key(name))));
        }
    }
    let vocab_size = store.shape("token_embd.weight").map_or(0, |shape| shape[0]);
    let tokenizer_id = |name: &str| {
        gguf.integer(&format!("tokenizer.ggml.{name}_token_id")).and_then(|id| u32::try_from(id).ok())
    };
    let (eos, eot) =
        (tokenizer_id("eos"), tokenizer_id("eot").filter(|&eot| tokenizer_id("eos") != Some(eot)));
    let mut config = DecoderConfig {
        family,
        vocab_size,
        hidden_size,
        intermediate_size: required("feed_forward_length")?,
        num_layers: required("block_count")?,
        num_heads,
        num_kv_heads: optional("attention.head_count_kv").unwrap_or(num_heads),
        head_dim,
        tied_embeddings: store.shape("output.weight").is_none(),
        rms_norm_eps: shortest_f64(gguf.float(&key("attention.layer_norm_rms_epsilon")).unwrap_or(1e-5)),
        rope_theta: gguf.float(&key("rope.freq_base")).unwrap_or(10_000.0),
        rope_scaling: None,
        max_positions: required("context_length")?,
        bos: tokenizer_id("bos"),
        eos: eos.into_iter().chain(eot).collect(),
        pad: tokenizer_id("padding"),
    };
    config.validate()?;
    if store.shape(ROPE_FACTORS).is_some() {
        config.rope_scaling = Some(llama3_scaling(&config, &store.read(ROPE_FACTORS)?)?);
        config.validate()?;
    }
    Ok(config)
}

/// The f64 with the fewest digits that is the same f32: 1e-5 rather than 9.999999747378752e-6.
fn shortest_f64(value: f64) -> f64 {
    (value as f32).to_string().parse().unwrap_or(value)
}

/// The rule behind stored rope factors. GGUF keeps only its results: those of every published Llama-3 come from the
/// same two bounds and original context, so only the factor is read off, and the whole rule is then verified.
fn llama3_scaling(config: &DecoderConfig, factors: &[f32]) -> Result<Llama3Scaling> {
    let largest = factors.iter().copied().fold(1.0, f32::max);
    let scaling = Llama3Scaling {
        factor: largest.into(),
        low_freq_factor: 1.0,
        high_freq_factor: 4.0,
        original_max_positions: 8192,
    };
    let plain = config.rope_frequencies();
    let scaled = DecoderConfig { rope_scaling: Some(scaling), ..config.clone() }.rope_frequencies();
    let same = plain.len() == factors.len()
        && plain.iter().zip(&scaled).zip(factors).all(|((p, s), f)| (p / s / f - 1.0).abs() < 1e-3);
    if same {
        Ok(scaling)
    } else {
        Err(Error::Config("the GGUF's rope factors are not those of a Llama-3 model".into()))
    }
}

/// The tensors of `gguf` under Hugging Face names, marked for reordering where Llama's q and k rows are in rope pairs.
pub(crate) fn hugging_face_tensors(gguf: &Gguf, config: &DecoderConfig) -> Vec<(String, StoredTensor)> {
    let renamed = gguf.tensors.iter().filter(|(name, _)| *name != ROPE_FACTORS).map(|(name, tensor)| {
        let mut tensor = tensor.clone();
        if config.family == Family::Llama {
            tensor.paired_heads = paired_heads(name, config).filter(|&heads| {
                // A wrong number of rows is reported when the shape is compared with the model's.
                tensor.shape[0].is_multiple_of(2 * heads)
            });
        }
        (hugging_face_name(name), tensor)
    });
    renamed.collect()
}

fn paired_heads(name: &str, config: &DecoderConfig) -> Option<usize> {
    match name.split('.').nth(2)? {
        "attn_q" => Some(config.num_heads),
        "attn_k" => Some(config.num_kv_heads),
        _ => None,
    }
}

/// The Hugging Face name of a GGUF tensor; names without one stay, to be reported as unknown.
fn hugging_face_name(name: &str) -> String {
    match name {
        "token_embd.weight" => return "model.embed_tokens.weight".into(),
        "output_norm.weight" => return "model.norm.weight".into(),
        "output.weight" => return "lm_head.weight".into(),
        _ => {}
    }
    let mut parts = name.splitn(4, '.');
    if let (Some("blk"), Some(layer), Some(part), Some(kind)) =
        (parts.next(), parts.next(), parts.next(), parts.next())
        && let Some((_, module)) = LAYER_MODULES.iter().find(|(gguf, _)| *gguf == part)
    {
        return format!("model.layers.{layer}.{module}.{kind}");
    }
    name.to_owned()
}

const LAYER_MODULES: [(&str, &str); 11] = [
    ("attn_norm", "input_layernorm"),
    ("attn_q", "self_attn.q_proj"),
    ("attn_k", "self_attn.k_proj"),
    ("attn_v", "self_attn.v_proj"),
    ("attn_q_norm", "self_attn.q_norm"),
    ("attn_k_norm", "self_attn.k_norm"),
    ("attn_output", "self_attn.o_proj"),
    ("ffn_norm", "post_attention_layernorm"),
    ("ffn_gate", "mlp.gate_proj"),
    ("ffn_up", "mlp.up_proj"),
    ("ffn_down", "mlp.down_proj"),
];
