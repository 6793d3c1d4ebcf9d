//! Reading and writing `config.json`.
#![expect(clippy::unwrap_used, reason = "a test's helpers may fail the test")]

use lyceum_nn::config::{DecoderConfig, Family, Llama3Scaling};
use lyceum_nn::presets::{PRESETS, preset, tiny_1m};
use proptest::prelude::*;
use serde_json::{Value, json};

/// The fields that decide the mathematics, as in the published file of SmolLM2-135M-Instruct.
fn smollm2() -> Value {
    json!({
        "architectures": ["LlamaForCausalLM"], "attention_bias": false, "bos_token_id": 1, "eos_token_id": 2,
        "hidden_act": "silu", "hidden_size": 576, "intermediate_size": 1536, "is_llama_config": true,
        "max_position_embeddings": 8192, "mlp_bias": false, "model_type": "llama", "num_attention_heads": 9,
        "num_hidden_layers": 30, "num_key_value_heads": 3, "pad_token_id": 2, "pretraining_tp": 1,
        "rms_norm_eps": 1e-05, "rope_interleaved": false, "rope_scaling": null, "rope_theta": 100000,
        "tie_word_embeddings": true, "torch_dtype": "bfloat16", "vocab_size": 49152
    })
}

fn read(value: &Value) -> Result<DecoderConfig, String> {
    DecoderConfig::from_json(&value.to_string()).map_err(|e| e.to_string())
}

fn with(mut base: Value, changes: &Value) -> Value {
    for (key, value) in changes.as_object().unwrap() {
        base[key] = value.clone();
    }
    base
}

#[test]
fn smollm2_as_published() {
    let config = read(&smollm2()).unwrap();
    assert_eq!(config.family, Family::Llama);
    assert_eq!((config.num_heads, config.num_kv_heads, config.head_dim), (9, 3, 64));
    assert_eq!((config.bos, config.eos.as_slice(), config.pad), (Some(1), [2].as_slice(), Some(2)));
    assert_eq!(config.rope_theta, 100_000.0);
    assert_eq!(config.parameter_count(), 134_515_008);
}

#[test]
fn qwen_families_have_their_parts() {
    // Qwen2.5-0.5B-Instruct and Qwen3-0.6B: sizes from their files, weights counted on their model cards' shards.
    let qwen2 = with(
        smollm2(),
        &json!({
            "architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "hidden_size": 896, "intermediate_size": 4864,
            "num_attention_heads": 14, "num_hidden_layers": 24, "num_key_value_heads": 2, "vocab_size": 151_936,
            "use_sliding_window": false, "eos_token_id": [151_645, 151_643], "bos_token_id": 151_643,
        }),
    );
    let config = read(&qwen2).unwrap();
    assert!(config.qkv_bias() && !config.qk_norm());
    assert_eq!((config.head_dim, config.eos.as_slice()), (64, [151_645, 151_643].as_slice()));
    assert_eq!(config.parameter_count(), 494_032_768);

    let qwen3 = with(
        smollm2(),
        &json!({
            "architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "hidden_size": 1024, "intermediate_size": 3072,
            "num_attention_heads": 16, "num_hidden_layers": 28, "num_key_value_heads": 8, "head_dim": 128,
            "vocab_size": 151_936, "rope_theta": 1_000_000,
        }),
    );
    let config = read(&qwen3).unwrap();
    assert!(config.qk_norm() && !config.qkv_bias());
    assert_eq!((config.query_width(), config.kv_width()), (2048, 1024));
    assert_eq!(config.parameter_count(), 596_049_920);
}

#[test]
fn llama3_rope_old_and_new_style() {
    let scaling = json!({
        "factor": 32.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0,
        "original_max_position_embeddings": 8192, "rope_type": "llama3",
    });
    let old = with(smollm2(), &json!({ "rope_theta": 500_000.0, "rope_scaling": scaling }));
    let mut parameters = scaling.clone();
    parameters["rope_theta"] = json!(500_000.0);
    let mut new = with(smollm2(), &json!({ "rope_parameters": parameters }));
    new.as_object_mut().unwrap().remove("rope_theta");
    let config = read(&old).unwrap();
    assert_eq!(read(&new).unwrap(), config);
    assert_eq!(
        config.rope_scaling,
        Some(Llama3Scaling {
            factor: 32.0,
            low_freq_factor: 1.0,
            high_freq_factor: 4.0,
            original_max_positions: 8192
        })
    );
    // The rule in f64, by an independent program: fast frequencies stay, slow ones are divided by 32, one blends.
    let frequencies = config.rope_frequencies();
    let expected = [
        (0, 1.0),
        (14, 0.003_211_445_994_752_591_3),
        (15, 0.001_290_547_928_209_264),
        (17, 9.708_287_802_627_67e-5),
        (18, 1.946_163_818_483_112_5e-5),
        (31, 9.418_306_725_434_909e-8),
    ];
    for (i, value) in expected {
        let relative = (f64::from(frequencies[i]) / value - 1.0).abs();
        assert!(relative < 1e-6, "frequency {i} is {}, not {value}", frequencies[i]);
    }
}

#[test]
fn token_ids_may_be_absent_or_negative() {
    let config = read(&with(smollm2(), &json!({ "bos_token_id": null, "pad_token_id": -1 }))).unwrap();
    assert_eq!((config.bos, config.pad), (None, None));
}

#[test]
fn what_cannot_be_built_is_refused_by_name() {
    let cases = [
        (json!({ "num_attention_heads": 0 }), "num_attention_heads"),
        (json!({ "num_key_value_heads": 0 }), "num_key_value_heads"),
        (json!({ "num_key_value_heads": 4 }), "multiple"),
        (json!({ "head_dim": 63 }), "even"),
        (json!({ "hidden_size": 577 }), "multiple"),
        (json!({ "hidden_size": 4_294_967_295u32 }), "hidden_size"),
        (json!({ "hidden_size": 1e30 }), "floating point"),
        (json!({ "hidden_size": -1 }), "invalid value"),
        (json!({ "hidden_size": "576" }), "invalid type"),
        (json!({ "num_hidden_layers": 1_000_000_000 }), "num_hidden_layers"),
        (json!({ "num_attention_heads": 4096, "num_key_value_heads": 4096, "head_dim": 4096 }), "head_dim"),
        (json!({ "vocab_size": 4_000_000_000u32 }), "vocab_size"),
        (json!({ "max_position_embeddings": 0 }), "max_position_embeddings"),
        (json!({ "rms_norm_eps": 0.0 }), "rms_norm_eps"),
        (json!({ "rms_norm_eps": -1e-5 }), "rms_norm_eps"),
        (json!({ "rope_theta": 1e300 }), "rope_theta"),
        (json!({ "eos_token_id": 49152 }), "49152"),
        (json!({ "eos_token_id": [2, 99_999_999_999u64] }), "vocabulary"),
        (json!({ "hidden_act": "gelu" }), "gelu"),
        (json!({ "attention_bias": true }), "attention_bias"),
        (json!({ "use_sliding_window": true }), "use_sliding_window"),
        (json!({ "partial_rotary_factor": 0.5 }), "partial_rotary_factor"),
        (json!({ "rope_scaling": { "type": "yarn", "factor": 4.0 } }), "yarn"),
        (json!({ "rope_scaling": { "rope_type": "llama3", "factor": 4.0 } }), "llama3"),
        (json!({ "architectures": ["GPT2LMHeadModel"], "model_type": "gpt2" }), "GPT2LMHeadModel"),
        (json!({ "architectures": null, "model_type": null }), "architectures"),
    ];
    for (change, word) in cases {
        let message = read(&with(smollm2(), &change)).expect_err(&change.to_string());
        assert!(message.contains(word), "{change}: {message}");
    }
    assert!(DecoderConfig::from_json("{").is_err());
}

/// Any valid configuration that a preset can be varied to.
fn any_config() -> impl Strategy<Value = DecoderConfig> {
    let family = prop::sample::select(vec![Family::Llama, Family::Qwen2, Family::Qwen3]);
    let scaling = prop::option::of((2u32..64).prop_map(|factor| Llama3Scaling {
        factor: f64::from(factor),
        low_freq_factor: 1.0,
        high_freq_factor: 4.0,
        original_max_positions: 8192,
    }));
    let eos = prop::collection::vec(0u32..90, 0..4);
    (prop::sample::select(&PRESETS[..]), family, scaling, eos, any::<bool>(), prop::option::of(0u32..90))
        .prop_map(|(name, family, rope_scaling, eos, tied_embeddings, bos)| DecoderConfig {
            family,
            rope_scaling,
            eos,
            tied_embeddings,
            bos,
            pad: bos,
            ..preset(name, 90).unwrap()
        })
}

proptest! {
    #[test]
    fn what_is_written_is_read(config in any_config()) {
        let text = config.to_json("float32").to_string();
        prop_assert_eq!(DecoderConfig::from_json(&text).unwrap(), config);
    }

    #[test]
    fn numbers_of_any_size_never_panic(field in 0usize..12, value in prop_oneof![
        any::<i64>().prop_map(|v| json!(v)), any::<f64>().prop_map(|v| json!(v)), any::<u8>().prop_map(|v| json!(v))
    ]) {
        let mut config = tiny_1m(90).to_json("float32");
        let fields = ["vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
            "num_key_value_heads", "head_dim", "max_position_embeddings", "rms_norm_eps", "rope_theta",
            "eos_token_id", "bos_token_id"];
        config[fields[field]] = value;
        if let Ok(config) = read(&config) {
            prop_assert!(config.parameter_count() > 0);
            prop_assert_eq!(config.rope_frequencies().len(), config.head_dim / 2);
        }
    }
}
