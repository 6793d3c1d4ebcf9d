//! Small models to train from scratch, named by their size without the vocabulary.

use crate::config::{DecoderConfig, Family};

/// Names of all presets, smallest first.
pub const PRESETS: [&str; 5] = ["tiny-0.3m", "tiny-1m", "tiny-2m", "tiny-5m", "tiny-10m"];

/// The preset called `name` for a tokenizer of `vocab_size` tokens; `None` if there is no such preset.
pub fn preset(name: &str, vocab_size: usize) -> Option<DecoderConfig> {
    let build = match name {
        "tiny-0.3m" => tiny_0_3m,
        "tiny-1m" => tiny_1m,
        "tiny-2m" => tiny_2m,
        "tiny-5m" => tiny_5m,
        "tiny-10m" => tiny_10m,
        _ => return None,
    };
    Some(build(vocab_size))
}

/// 3 layers of width 96.
pub fn tiny_0_3m(vocab_size: usize) -> DecoderConfig {
    tiny(vocab_size, 3, 96, 3, 256)
}

/// 4 layers of width 128.
pub fn tiny_1m(vocab_size: usize) -> DecoderConfig {
    tiny(vocab_size, 4, 128, 4, 512)
}

/// 4 layers of width 192.
pub fn tiny_2m(vocab_size: usize) -> DecoderConfig {
    tiny(vocab_size, 4, 192, 6, 640)
}

/// 6 layers of width 256.
pub fn tiny_5m(vocab_size: usize) -> DecoderConfig {
    tiny(vocab_size, 6, 256, 8, 768)
}

/// 6 layers of width 384.
pub fn tiny_10m(vocab_size: usize) -> DecoderConfig {
    tiny(vocab_size, 6, 384, 6, 1024)
}

fn tiny(vocab_size: usize, layers: usize, hidden: usize, heads: usize, ffn: usize) -> DecoderConfig {
    DecoderConfig {
        family: Family::Llama,
        vocab_size,
        hidden_size: hidden,
        intermediate_size: ffn,
        num_layers: layers,
        num_heads: heads,
        num_kv_heads: heads,
        head_dim: hidden / heads,
        tied_embeddings: true,
        rms_norm_eps: 1e-5,
        rope_theta: 10_000.0,
        rope_scaling: None,
        max_positions: 2048,
        bos: None,
        eos: Vec::new(),
        pad: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_preset_has_the_size_in_its_name() {
        for name in PRESETS {
            let config = preset(name, 64).unwrap();
            config.validate().unwrap();
            let millions: f64 = name.trim_start_matches("tiny-").trim_end_matches('m').parse().unwrap();
            let body = (config.parameter_count() - 64 * config.hidden_size) as f64 / 1e6;
            assert!((body / millions - 1.0).abs() < 0.15, "{name} has {body} million weights");
        }
        assert!(preset("tiny-7m", 64).is_none());
    }
}
