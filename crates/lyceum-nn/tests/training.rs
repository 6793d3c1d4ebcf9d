//! Steps: exact resumption, adapters against their base, learning.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::needless_pass_by_value,
    reason = "a test fails by panicking"
)]

mod models;

use lyceum_kernels::Precision;
use lyceum_nn::decoder::{KernelPolicy, Options, Training};
use lyceum_nn::lora::LoraConfig;
use lyceum_nn::optimizer::{AdamW, OptimizerState};
use lyceum_nn::policy::{Batch, NamedTensor, Policy, TokenGrads};
use models::{FAMILIES, ids, model, options, pool};

fn lora() -> Options {
    Options { training: Training::Lora(LoraConfig::all_linear(4)), ..options() }
}

fn flat(policy: &KernelPolicy) -> Vec<f32> {
    policy.named_parameters().iter().flat_map(|tensor| tensor.data).copied().collect()
}

fn train(policy: &mut KernelPolicy, seeds: std::ops::Range<u64>) -> Vec<f32> {
    let optimizer = AdamW { weight_decay: 0.1, ..AdamW::default() };
    let step = |seed| {
        let batch = Batch::of_sequences(&[&ids(seed, 20)]);
        policy.zero_grad();
        let stats = policy.weighted_likelihood(&batch, &vec![0.05; batch.targets.len()]).unwrap();
        policy.step(&optimizer, 1e-2, Some(1.0)).unwrap();
        stats.logp.iter().sum::<f32>()
    };
    seeds.map(step).collect()
}

#[test]
fn resumption_is_exact() {
    for options in [options(), Options { precision: Precision::Bf16, ..options() }, lora()] {
        let mut straight = model(FAMILIES[1], true, options.clone());
        train(&mut straight, 0..3);
        let parameters: Vec<(String, Vec<f32>)> =
            straight.named_parameters().iter().map(|t| (t.name.to_owned(), t.data.to_vec())).collect();
        let state = straight.optimizer_state();
        let (step, first, second) = (state.step, state.first.to_vec(), state.second.to_vec());
        let later = train(&mut straight, 3..6);

        let mut resumed = model(FAMILIES[1], true, options);
        let tensors: Vec<NamedTensor<'_>> =
            parameters.iter().map(|(name, data)| NamedTensor { name, shape: &[], data }).collect();
        resumed.load_parameters(&tensors).unwrap();
        resumed.load_optimizer_state(OptimizerState { step, first: &first, second: &second }).unwrap();
        assert_eq!(train(&mut resumed, 3..6), later);
        assert_eq!(flat(&resumed), flat(&straight));
    }
}

#[test]
fn a_new_adapter_changes_nothing() {
    for family in FAMILIES {
        let mut base = KernelPolicy::random(models::config(family, true), options(), pool(), 5).unwrap();
        let mut adapted = KernelPolicy::random(models::config(family, true), lora(), pool(), 5).unwrap();
        let batch = Batch::of_sequences(&[&ids(1, 30)]);
        let expected = base.logprobs(&batch).unwrap();
        assert_eq!(adapted.logprobs(&batch).unwrap(), expected);
        assert_eq!(adapted.evaluate_base(&batch).unwrap(), expected);
    }
}

#[test]
fn merging_equals_the_adapter() {
    for family in FAMILIES {
        let targets = lyceum_nn::lora::LINEAR_LAYERS.map(str::to_owned).to_vec();
        let training = Training::Lora(LoraConfig { rank: 3, alpha: 4.0, targets });
        let config = models::config(family, false);
        let mut adapted =
            KernelPolicy::random(config.clone(), Options { training, ..options() }, pool(), 5).unwrap();
        models::perturb(&mut adapted, 2, 0.2);
        let merged =
            KernelPolicy::new(config, options(), pool(), &mut |entry, out| adapted.merged(entry, out))
                .unwrap();
        let batch = Batch::of_sequences(&[&ids(1, 30)]);
        let (on, off) = (adapted.evaluate(&batch).unwrap(), adapted.evaluate_base(&batch).unwrap());
        let merged = merged.evaluate(&batch).unwrap();
        assert!(on.logp.iter().zip(&merged.logp).all(|(a, b)| (a - b).abs() < 1e-4), "{family:?}");
        assert!(off.logp.iter().zip(&merged.logp).any(|(a, b)| (a - b).abs() > 1e-2), "{family:?}");
    }
}

#[test]
fn a_tied_heads_adapter_cannot_be_merged() {
    let training =
        Training::Lora(LoraConfig { rank: 2, alpha: 2.0, targets: vec!["lm_head".into(), "v_proj".into()] });
    let policy = model(FAMILIES[0], true, Options { training, ..options() });
    for entry in policy.decoder().layout().entries() {
        let merged = policy.merged(entry, &mut vec![0.0; entry.len()]);
        assert_eq!(merged.is_err(), entry.name == "model.embed_tokens.weight", "{}", entry.name);
    }
}

#[test]
fn the_base_is_frozen_under_an_adapter() {
    let mut policy = model(FAMILIES[0], true, lora());
    let batch = Batch::of_sequences(&[&ids(1, 30)]);
    let before = policy.evaluate_base(&batch).unwrap();
    train(&mut policy, 0..3);
    assert_eq!(policy.evaluate_base(&batch).unwrap(), before);
    assert_ne!(policy.evaluate(&batch).unwrap(), before);
}

#[test]
fn sequences_are_learnt() {
    let targets = lyceum_nn::lora::LINEAR_LAYERS.map(str::to_owned).to_vec();
    let wide = Training::Lora(LoraConfig { rank: 16, alpha: 32.0, targets });
    for training in [Training::Full, wide] {
        let mut policy =
            model(FAMILIES[2], true, Options { precision: Precision::Bf16, training, ..options() });
        let batch = Batch::of_sequences(&[&ids(1, 24), &ids(2, 24)]);
        let weights = vec![1.0 / batch.targets.len() as f32; batch.targets.len()];
        for _ in 0..150 {
            policy.zero_grad();
            policy.weighted_likelihood(&batch, &weights).unwrap();
            policy.step(&AdamW::default(), 3e-3, Some(1.0)).unwrap();
        }
        let logp = policy.evaluate(&batch).unwrap().logp;
        let mean = logp.iter().sum::<f32>() / logp.len() as f32;
        assert!(mean > -0.3, "{:?}: mean log-probability {mean}", policy.options().training);
    }
}

#[test]
fn clipping_scales_the_step_and_bad_gradients_are_refused() {
    let mut policy = model(FAMILIES[0], true, Options { value_head: true, ..options() });
    let batch = Batch::of_sequences(&[&ids(1, 10)]);
    policy.weighted_likelihood(&batch, &[1.0; 9]).unwrap();
    let norm = policy.gradient_norm();
    let info = policy.step(&AdamW::default(), 0.0, Some(0.5)).unwrap();
    assert_eq!((info.step, info.gradient_norm), (1, norm));
    assert!((f64::from(info.clip_factor) * norm - 0.5).abs() < 1e-6);

    let before = flat(&policy);
    policy.logprobs(&batch).unwrap();
    policy.backward(&TokenGrads { logp: vec![f32::NAN; 9], ..TokenGrads::default() }).unwrap();
    let error = policy.step(&AdamW::default(), 0.1, None).unwrap_err();
    assert!(matches!(error, lyceum_nn::Error::Numeric(_)), "{error}");
    assert_eq!(flat(&policy), before);
    assert_eq!(policy.optimizer_state().step, 1);
}

#[test]
fn misuse_is_refused() {
    let mut policy = model(FAMILIES[0], true, options());
    let batch = Batch::of_sequences(&[&ids(1, 10)]);
    assert!(policy.backward(&TokenGrads::default()).is_err(), "no forward");
    policy.logprobs(&batch).unwrap();
    assert!(policy.backward(&TokenGrads { logp: vec![1.0; 3], ..TokenGrads::default() }).is_err());
    assert!(policy.backward(&TokenGrads { value: vec![1.0; 9], ..TokenGrads::default() }).is_err());
    policy.backward(&TokenGrads::default()).unwrap();
    assert!(policy.backward(&TokenGrads::default()).is_err(), "used up");
    assert!(policy.weighted_likelihood(&batch, &[1.0]).is_err());
    assert!(policy.load_parameters(&[NamedTensor { name: "no.such", shape: &[], data: &[] }]).is_err());
    let state = OptimizerState { step: 1, first: &[0.0], second: &[0.0] };
    assert!(policy.load_optimizer_state(state).is_err());

    let mut frozen = model(FAMILIES[0], true, Options { training: Training::Frozen, ..options() });
    assert!(frozen.logprobs(&batch).is_err());
    assert!(frozen.evaluate(&batch).is_ok());
    let bad_lora = LoraConfig { rank: 2, alpha: 1.0, targets: vec!["q".into()] };
    let bad = Options { training: Training::Lora(bad_lora), ..options() };
    let error = KernelPolicy::random(models::config(FAMILIES[0], true), bad, pool(), 1).unwrap_err();
    assert!(error.to_string().contains("q_proj"), "{error}");
}

#[test]
fn bad_batches_are_refused() {
    let policy = model(FAMILIES[0], true, options());
    let good = Batch::of_sequences(&[&ids(1, 10), &ids(2, 5)]);
    let mut bad = vec![good.clone(); 8];
    bad[0].positions[3] = 300;
    bad[1].targets[0].token = 61;
    bad[2].targets[0].row = 15;
    bad[3].segments[1].start = 9;
    bad[4].segments[1].parent = Some(1);
    bad[5].temperature = 0.0;
    bad[6].positions.pop();
    bad[7].segments.pop();
    for (i, batch) in bad.iter().enumerate() {
        assert!(policy.evaluate(batch).is_err(), "batch {i}");
    }
    assert!(policy.evaluate(&Batch::of_sequences(&[])).is_err());
    assert!(Batch::of_groups(&[(&[], &[&[1, 2]])]).is_err());
}
