//! Shared by the tests of file formats.
#![allow(dead_code, reason = "each test binary uses a part")]

pub mod gguf_writer;

use gguf_writer::{GgufWriter, Kind};
use lyceum_nn::config::{DecoderConfig, Family};
use lyceum_nn::params::Layout;
use lyceum_nn::policy::NamedTensor;
use lyceum_nn::presets::tiny_0_3m;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

pub const FAMILIES: [Family; 3] = [Family::Llama, Family::Qwen2, Family::Qwen3];

/// Two small layers with grouped heads and untied embeddings; widths are multiples of a quantised block.
pub fn small_config(family: Family) -> DecoderConfig {
    DecoderConfig {
        family,
        num_layers: 2,
        hidden_size: 64,
        intermediate_size: 96,
        num_heads: 4,
        num_kv_heads: 2,
        head_dim: if family == Family::Qwen3 { 24 } else { 16 },
        tied_embeddings: family == Family::Qwen2,
        bos: Some(1),
        eos: vec![2],
        pad: Some(0),
        ..tiny_0_3m(40)
    }
}

/// Weights of about a trained model's size; norms near one.
pub fn random_weights(layout: &Layout, seed: u64) -> Vec<f32> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut flat = vec![0.0; layout.len()];
    for entry in layout.entries() {
        let (centre, spread) = if entry.name.ends_with("norm.weight") { (1.0, 0.3) } else { (0.0, 0.2) };
        for x in &mut flat[entry.range()] {
            *x = centre + spread * random.random_range(-1.0f32..1.0);
        }
    }
    flat
}

pub fn named<'a>(layout: &'a Layout, flat: &'a [f32]) -> Vec<NamedTensor<'a>> {
    let entries = layout.entries().iter();
    entries.map(|e| NamedTensor { name: &e.name, shape: &e.shape, data: &flat[e.range()] }).collect()
}

/// Writes a model as llama.cpp's converter does, and returns the weights that a reader must find. Matrices have
/// `kind`, vectors are f32.
pub fn write_gguf_model(config: &DecoderConfig, flat: &[f32], kind: Kind) -> (GgufWriter, Vec<f32>) {
    let arch = config.family.model_type();
    let mut writer = GgufWriter::new();
    writer.string("general.architecture", arch);
    for (key, value) in [
        ("block_count", config.num_layers),
        ("context_length", config.max_positions),
        ("embedding_length", config.hidden_size),
        ("feed_forward_length", config.intermediate_size),
        ("attention.head_count", config.num_heads),
        ("attention.head_count_kv", config.num_kv_heads),
        ("attention.key_length", config.head_dim),
        ("rope.dimension_count", config.head_dim),
    ] {
        writer.u32(&format!("{arch}.{key}"), value as u32);
    }
    writer.f32(&format!("{arch}.attention.layer_norm_rms_epsilon"), config.rms_norm_eps as f32);
    writer.f32(&format!("{arch}.rope.freq_base"), config.rope_theta as f32);
    writer.string("tokenizer.ggml.model", "gpt2");
    writer.string("tokenizer.ggml.pre", "smollm");
    writer.strings("tokenizer.ggml.tokens", &["<pad>", "<s>", "</s>", "a", "Ġb"]);
    writer.i32s("tokenizer.ggml.token_type", &[3, 3, 3, 1, 1]);
    writer.strings("tokenizer.ggml.merges", &["Ġ b"]);
    writer.bool("tokenizer.ggml.add_bos_token", false);
    for (key, id) in [("bos", config.bos), ("eos", config.eos.first().copied()), ("padding", config.pad)] {
        if let Some(id) = id {
            writer.u32(&format!("tokenizer.ggml.{key}_token_id"), id);
        }
    }

    if config.rope_scaling.is_some() {
        let plain = DecoderConfig { rope_scaling: None, ..config.clone() }.rope_frequencies();
        let factors: Vec<f32> = plain.iter().zip(config.rope_frequencies()).map(|(p, s)| p / s).collect();
        writer.tensor("rope_freqs.weight", &[factors.len()], &factors, Kind::F32);
    }
    let layout = Layout::new(config, false);
    let mut expected = flat.to_vec();
    for entry in layout.entries() {
        let kind = if entry.shape.len() == 1 { Kind::F32 } else { kind };
        let heads = match entry.name.split('.').nth(4) {
            _ if config.family != Family::Llama => None,
            Some("q_proj") => Some(config.num_heads),
            Some("k_proj") => Some(config.num_kv_heads),
            _ => None,
        };
        let values = &flat[entry.range()];
        let width = entry.shape.get(1).copied().unwrap_or(1);
        let order = row_order(entry.shape[0], heads);
        let stored: Vec<f32> =
            order.iter().flat_map(|&row| values[row * width..][..width].iter().copied()).collect();
        let decoded = writer.tensor(&gguf_name(&entry.name), &entry.shape, &stored, kind);
        let target = &mut expected[entry.range()];
        for (row, from) in order.iter().zip(decoded.chunks(width)) {
            target[row * width..][..width].copy_from_slice(from);
        }
    }
    (writer, expected)
}

/// Which row of the Hugging Face matrix stands at each row of the GGUF: rope pairs side by side within each head.
fn row_order(rows: usize, heads: Option<usize>) -> Vec<usize> {
    let Some(heads) = heads else { return (0..rows).collect() };
    let head = rows / heads;
    (0..rows)
        .map(|row| {
            let (first, within) = (row / head * head, row % head);
            first + within / 2 + within % 2 * (head / 2)
        })
        .collect()
}

fn gguf_name(name: &str) -> String {
    let renames = [
        ("model.embed_tokens", "token_embd"),
        ("model.norm", "output_norm"),
        ("lm_head", "output"),
        ("model.layers.", "blk."),
        ("input_layernorm", "attn_norm"),
        ("post_attention_layernorm", "ffn_norm"),
        ("self_attn.q_proj", "attn_q"),
        ("self_attn.k_proj", "attn_k"),
        ("self_attn.v_proj", "attn_v"),
        ("self_attn.q_norm", "attn_q_norm"),
        ("self_attn.k_norm", "attn_k_norm"),
        ("self_attn.o_proj", "attn_output"),
        ("mlp.gate_proj", "ffn_gate"),
        ("mlp.up_proj", "ffn_up"),
        ("mlp.down_proj", "ffn_down"),
    ];
    renames.iter().fold(name.to_owned(), |name, (from, to)| name.replace(from, to))
}
