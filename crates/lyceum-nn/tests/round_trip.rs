//! Random models saved and loaded in every format give the same weights and the same log-probabilities.
#![expect(clippy::unwrap_used, reason = "a test's helpers may fail the test")]

mod models;
mod support;

use lyceum_kernels::Pool;
use lyceum_nn::DecoderConfig;
use lyceum_nn::checkpoint::{
    Checkpoint, Dtype, Notes, open_safetensors, read_adapter, write_adapter, write_folder, write_safetensors,
};
use lyceum_nn::decoder::{KernelPolicy, Options, Training};
use lyceum_nn::lora::LoraConfig;
use lyceum_nn::optimizer::{AdamW, OptimizerState};
use lyceum_nn::params::Layout;
use lyceum_nn::policy::{Batch, NamedTensor, Policy};
use models::{FAMILIES, ids, model, options, perturb};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::sync::Arc;
use support::gguf_writer::KINDS;

fn batch() -> Batch {
    Batch::of_sequences(&[&ids(1, 14), &ids(2, 5)])
}

fn logp(policy: &impl Policy) -> Vec<f32> {
    policy.evaluate(&batch()).unwrap().logp
}

fn open(path: &Path, options: Options) -> lyceum_nn::Result<KernelPolicy> {
    Checkpoint::open(path)?.into_policy(options, Arc::new(Pool::new(2)))
}

fn message(path: &Path) -> String {
    open(path, options()).unwrap_err().to_string()
}

/// A random model and a folder it was written to.
fn written(family: lyceum_nn::config::Family, dtype: Dtype) -> (KernelPolicy, tempfile::TempDir) {
    let mut policy = model(family, false, options());
    perturb(&mut policy, 4, 0.1);
    let folder = tempfile::tempdir().unwrap();
    write_folder(folder.path(), policy.config(), &policy.named_parameters(), dtype).unwrap();
    (policy, folder)
}

#[test]
fn folders_keep_the_model() {
    for family in FAMILIES {
        for (dtype, error) in [(Dtype::F32, 0.0), (Dtype::F16, 0.01), (Dtype::Bf16, 0.08)] {
            let (policy, folder) = written(family, dtype);
            let back = open(folder.path(), options()).unwrap();
            assert_eq!(back.config(), policy.config());
            let difference =
                logp(&back).iter().zip(logp(&policy)).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(difference <= error, "{family:?} {dtype:?}: {difference}");
            assert!(dtype == Dtype::F32 || difference > 0.0, "{dtype:?} rounds");
        }
    }
}

#[test]
fn a_value_head_comes_along_when_it_is_wanted() {
    let with_value = || Options { value_head: true, ..options() };
    let mut policy = model(FAMILIES[0], true, with_value());
    perturb(&mut policy, 5, 0.1);
    let folder = tempfile::tempdir().unwrap();
    write_folder(folder.path(), policy.config(), &policy.named_parameters(), Dtype::F32).unwrap();
    let value = |policy: &KernelPolicy| policy.evaluate(&batch()).unwrap().value;
    assert_eq!(value(&open(folder.path(), with_value()).unwrap()), value(&policy));
    let adapted = Options { training: Training::Lora(LoraConfig::all_linear(2)), ..with_value() };
    assert_eq!(value(&open(folder.path(), adapted).unwrap()), value(&policy));
    assert!(value(&open(folder.path(), options()).unwrap()).is_empty());
}

#[test]
fn shards_are_joined() {
    let (policy, folder) = written(FAMILIES[1], Dtype::F32);
    let whole = folder.path().join("model.safetensors");
    let tensors = policy.named_parameters();
    let (first, second) = tensors.split_at(tensors.len() / 2);
    let mut map = serde_json::Map::new();
    for (part, name) in [(first, "model-1.safetensors"), (second, "model-2.safetensors")] {
        write_safetensors(&folder.path().join(name), part, Dtype::F32, &Notes::new()).unwrap();
        map.extend(part.iter().map(|tensor| (tensor.name.to_owned(), json!(name))));
    }
    fs::remove_file(whole).unwrap();
    let index = folder.path().join("model.safetensors.index.json");
    let write_index = |map: &serde_json::Map<String, Value>| {
        fs::write(&index, json!({ "metadata": {}, "weight_map": map }).to_string()).unwrap();
    };
    write_index(&map);
    assert_eq!(logp(&open(folder.path(), options()).unwrap()), logp(&policy));

    let mut lying = map.clone();
    lying.insert("model.extra".into(), json!("model-1.safetensors"));
    write_index(&lying);
    assert!(message(folder.path()).contains("model.extra"));
    lying.insert("model.extra".into(), json!("../model-1.safetensors"));
    write_index(&lying);
    assert!(message(folder.path()).contains("same folder"));
    write_index(&map);
    fs::remove_file(folder.path().join("model-2.safetensors")).unwrap();
    assert!(message(folder.path()).contains("model-2.safetensors"));
}

#[test]
fn gguf_in_all_encodings_is_the_same_model_as_its_dequantised_folder() {
    for family in FAMILIES {
        for kind in KINDS {
            let config = support::small_config(family);
            let layout = Layout::new(&config, false);
            let flat = support::random_weights(&layout, 3);
            let (writer, dequantised) = support::write_gguf_model(&config, &flat, kind);
            let folder = tempfile::tempdir().unwrap();
            let gguf = folder.path().join("model.gguf");
            fs::write(&gguf, writer.bytes(3)).unwrap();
            let tensors = support::named(&layout, &dequantised);
            write_folder(folder.path(), &config, &tensors, Dtype::F32).unwrap();
            let batch = Batch::of_sequences(&[&[1, 5, 9, 30, 2, 2, 7]]);
            let evaluate = |path: &Path| open(path, options()).unwrap().evaluate(&batch).unwrap().logp;
            assert_eq!(evaluate(&gguf), evaluate(folder.path()), "{family:?} {kind:?}");
        }
    }
}

#[test]
fn adapters_keep_what_was_learnt() {
    for family in FAMILIES {
        let lora = LoraConfig { rank: 3, alpha: 4.5, targets: vec!["q_proj".into(), "down_proj".into()] };
        let (_, base) = written(family, Dtype::F32);
        let adapted = |lora: LoraConfig| Options { training: Training::Lora(lora), ..options() };
        let mut policy = open(base.path(), adapted(lora.clone())).unwrap();
        let untrained = logp(&policy);
        perturb(&mut policy, 6, 0.3);
        assert_ne!(logp(&policy), untrained);

        let folder = tempfile::tempdir().unwrap();
        let tensors = policy.named_parameters();
        write_adapter(folder.path(), &lora, Some("base"), &tensors, Dtype::F32).unwrap();
        let adapter = read_adapter(folder.path()).unwrap();
        assert_eq!((adapter.lora.rank, adapter.lora.alpha), (3, 4.5));
        assert_eq!(adapter.base_model.as_deref(), Some("base"));
        let mut back = open(base.path(), adapted(adapter.lora.clone())).unwrap();
        back.load_parameters(&adapter.named()).unwrap();
        assert_eq!(logp(&back), logp(&policy));

        let (store, _) = open_safetensors(&folder.path().join("adapter_model.safetensors")).unwrap();
        let name = "base_model.model.model.layers.1.mlp.down_proj.lora_B.weight";
        assert_eq!(store.shape(name), Some([policy.config().hidden_size, 3].as_slice()));
    }
}

#[test]
fn adapters_that_are_more_than_lora_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let name = "model.layers.0.self_attn.q_proj.lora_A.weight";
    let tensors = [NamedTensor { name, shape: &[2, 3], data: &[0.0; 6] }];
    write_adapter(folder.path(), &LoraConfig::all_linear(4), None, &tensors, Dtype::Bf16).unwrap();
    let path = folder.path().join("adapter_config.json");
    let plain: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    let with = |key: &str, value: Value| {
        let mut config = plain.clone();
        config[key] = value;
        fs::write(&path, config.to_string()).unwrap();
        read_adapter(folder.path())
    };
    assert_eq!(with("r", json!(4)).unwrap().lora.alpha, 8.0);
    assert_eq!(with("use_rslora", json!(true)).unwrap().lora.alpha, 16.0);
    assert_eq!(with("target_modules", json!("all-linear")).unwrap().lora.targets, ["q_proj"]);
    for (key, value) in [
        ("peft_type", json!("LOHA")),
        ("use_dora", json!(true)),
        ("bias", json!("all")),
        ("fan_in_fan_out", json!(true)),
        ("rank_pattern", json!({ "q_proj": 8 })),
        ("modules_to_save", json!(["lm_head"])),
        ("r", json!(0)),
    ] {
        let message = with(key, value).unwrap_err().to_string();
        assert!(message.contains("adapter_config.json"), "{key}: {message}");
    }
}

#[test]
fn training_resumes_exactly_from_safetensors() {
    let mut policy = model(FAMILIES[2], true, options());
    let weights = vec![1.0; batch().targets.len()];
    let optimizer = AdamW::default();
    let train = |policy: &mut KernelPolicy| {
        policy.zero_grad();
        policy.weighted_likelihood(&batch(), &weights).unwrap();
        policy.step(&optimizer, 1e-3, None).unwrap();
    };
    train(&mut policy);
    train(&mut policy);

    let folder = tempfile::tempdir().unwrap();
    write_folder(folder.path(), policy.config(), &policy.named_parameters(), Dtype::F32).unwrap();
    let path = folder.path().join("optimizer.safetensors");
    let OptimizerState { step, first, second } = policy.optimizer_state();
    let shape = [first.len()];
    let moments = [("first", first), ("second", second)];
    let moments = moments.map(|(name, data)| NamedTensor { name, shape: &shape, data });
    write_safetensors(&path, &moments, Dtype::F32, &Notes::from([("step".into(), step.to_string())]))
        .unwrap();

    let mut resumed = open(folder.path(), options()).unwrap();
    let (mut store, notes) = open_safetensors(&path).unwrap();
    let (first, second) = (store.read("first").unwrap(), store.read("second").unwrap());
    let step = notes["step"].parse().unwrap();
    resumed.load_optimizer_state(OptimizerState { step, first: &first, second: &second }).unwrap();
    train(&mut policy);
    train(&mut resumed);
    assert_eq!(logp(&resumed), logp(&policy));
}

#[test]
fn folders_that_do_not_hold_their_model() {
    let (policy, folder) = written(FAMILIES[1], Dtype::F32);
    let rewrite = |config: DecoderConfig, skip: &str| {
        let tensors = policy.named_parameters();
        let kept: Vec<_> = tensors.into_iter().filter(|tensor| tensor.name != skip).collect();
        write_folder(folder.path(), &config, &kept, Dtype::F32).unwrap();
        message(folder.path())
    };
    let config = policy.config().clone();
    assert!(rewrite(config.clone(), "model.norm.weight").contains("lacks tensor \"model.norm.weight\""));
    assert!(rewrite(DecoderConfig { num_layers: 1, ..config.clone() }, "").contains("model.layers.1."));
    assert!(rewrite(DecoderConfig { intermediate_size: 51, ..config }, "").contains("[51, 36]"));
    fs::remove_file(folder.path().join("model.safetensors")).unwrap();
    assert!(message(folder.path()).contains("neither"));
    fs::write(folder.path().join("config.json"), "{}").unwrap();
    assert!(message(folder.path()).contains("config.json"));
    fs::remove_file(folder.path().join("config.json")).unwrap();
    assert!(message(folder.path()).contains("config.json"));
    assert!(message(&folder.path().join("absent.gguf")).contains("absent.gguf"));
}
