//! The kernels' decoder and the composed one are the same function with the same gradient.
#![expect(clippy::unwrap_used, reason = "a test's helpers may fail the test")]

mod models;

use candle_core::Device;
use lyceum_nn::composed::{ComposedPolicy, device};
use lyceum_nn::decoder::{KernelPolicy, Options};
use lyceum_nn::optimizer::AdamW;
use lyceum_nn::policy::{Batch, Input, NamedTensor, Policy, Segment, Target, TokenGrads, TokenStats};
use models::{FAMILIES, VOCAB, ids, model, options, perturb, random_vector};

/// Both implementations with the same weights, a value head, and nothing at a special place.
fn twins(family: lyceum_nn::config::Family, tied: bool) -> (KernelPolicy, ComposedPolicy) {
    let mut fast = model(family, tied, Options { value_head: true, ..options() });
    perturb(&mut fast, 3, 0.2);
    let mut slow = ComposedPolicy::new(fast.config().clone(), true, Device::Cpu, &mut |_, out| {
        out.fill(0.0);
        Ok(())
    })
    .unwrap();
    slow.load_parameters(&fast.named_parameters()).unwrap();
    (fast, slow)
}

/// Plain sequences, a group behind one prompt, and a turn that continues one of its completions.
fn tree() -> Batch {
    let segment = |start, len, parent| Segment { start, len, parent };
    let segments = vec![
        segment(0, 5, None),
        segment(5, 7, None),
        segment(12, 3, Some(1)),
        segment(15, 4, Some(1)),
        segment(19, 2, Some(3)),
        segment(21, 1, None),
    ];
    let positions = (0..5).chain(0..7).chain(7..10).chain(7..11).chain(11..13).chain(0..1).collect();
    let tokens = ids(4, 64);
    // Some rows predict nothing, row 11 (the prompt's last) predicts three times.
    let rows = [0, 1, 3, 8, 11, 11, 11, 12, 13, 15, 16, 17, 18, 19, 20, 21];
    let targets = rows.iter().zip(&tokens[30..]).map(|(&row, &token)| Target { row, token }).collect();
    Batch { input: Input::Ids(tokens[..22].to_vec()), positions, segments, targets, temperature: 0.7 }
}

fn derivatives(stats: &TokenStats) -> TokenGrads {
    TokenGrads {
        logp: random_vector(1, stats.logp.len()),
        entropy: random_vector(2, stats.entropy.len()),
        value: random_vector(3, stats.value.len()),
    }
}

fn assert_close(what: &str, fast: &[f32], slow: &[f32]) {
    assert_eq!(fast.len(), slow.len(), "{what}");
    let rms = (slow.iter().map(|x| x * x).sum::<f32>() / slow.len() as f32).sqrt();
    for (i, (a, b)) in fast.iter().zip(slow).enumerate() {
        let allowed = 1e-4 * b.abs().max(rms);
        assert!((a - b).abs() <= allowed, "{what}[{i}]: kernels {a}, composed {b}, rms {rms}");
    }
}

fn assert_same(what: &str, fast: &[NamedTensor<'_>], slow: &[NamedTensor<'_>]) {
    assert_eq!(fast.len(), slow.len());
    for (a, b) in fast.iter().zip(slow) {
        assert_eq!((a.name, a.shape), (b.name, b.shape));
        assert_close(&format!("{what} of {}", a.name), a.data, b.data);
    }
}

fn assert_statistics(what: &str, fast: &TokenStats, slow: &TokenStats) {
    assert_close(&format!("{what} logp"), &fast.logp, &slow.logp);
    assert_close(&format!("{what} entropy"), &fast.entropy, &slow.entropy);
    assert_close(&format!("{what} value"), &fast.value, &slow.value);
}

#[test]
fn statistics_and_all_gradients_agree() {
    for family in FAMILIES {
        for tied in [true, false] {
            let what = format!("{family:?}, tied {tied}:");
            let (mut fast, mut slow) = twins(family, tied);
            let batch = tree();
            let stats = fast.logprobs(&batch).unwrap();
            assert_statistics(&what, &stats, &slow.logprobs(&batch).unwrap());
            assert_eq!(stats.value.len(), batch.targets.len());
            fast.backward(&derivatives(&stats)).unwrap();
            slow.backward(&derivatives(&stats)).unwrap();
            assert_same(&format!("{what} gradient"), &fast.named_gradients(), &slow.named_gradients());
            assert!((fast.gradient_norm() / slow.gradient_norm() - 1.0).abs() < 1e-5);
        }
    }
}

#[test]
fn every_trainable_parameter_gets_a_gradient() {
    for family in FAMILIES {
        let (mut fast, mut slow) = twins(family, false);
        let policies: [&mut dyn Policy; 2] = [&mut fast, &mut slow];
        for (which, policy) in ["kernels", "composed"].into_iter().zip(policies) {
            let stats = policy.logprobs(&tree()).unwrap();
            policy.backward(&derivatives(&stats)).unwrap();
            for tensor in policy.named_gradients() {
                // Rows of tokens that are not in the batch have none; every other number must.
                let expected = if tensor.name == "model.embed_tokens.weight" { 1 } else { tensor.data.len() };
                let moved = tensor.data.iter().filter(|g| **g != 0.0).count();
                assert!(moved >= expected, "{family:?}, {which}: {} has {moved} of {expected}", tensor.name);
            }
        }
    }
}

#[test]
fn embeddings_enter_and_their_gradient_leaves() {
    for family in FAMILIES {
        let (mut fast, mut slow) = twins(family, true);
        let mut batch = tree();
        let hidden = fast.config().hidden_size;
        batch.input = Input::Embeddings { data: random_vector(9, batch.rows() * hidden) };
        let stats = fast.logprobs(&batch).unwrap();
        assert_statistics("embeddings", &stats, &slow.logprobs(&batch).unwrap());
        fast.backward(&derivatives(&stats)).unwrap();
        slow.backward(&derivatives(&stats)).unwrap();
        assert_eq!(slow.input_gradient().len(), batch.rows() * hidden);
        assert_close("input gradient", fast.input_gradient(), slow.input_gradient());
    }
}

#[test]
fn training_takes_the_same_path() {
    let (mut fast, mut slow) = twins(FAMILIES[2], false);
    let batch = Batch::of_sequences(&[&ids(1, 12), &ids(2, 9)]);
    let weights = random_vector(5, batch.targets.len());
    let optimizer = AdamW { weight_decay: 0.1, epsilon: 1e-4, ..AdamW::default() };
    for _ in 0..3 {
        for policy in [&mut fast as &mut dyn Policy, &mut slow] {
            policy.zero_grad();
            policy.weighted_likelihood(&batch, &weights).unwrap();
            policy.step(&optimizer, 1e-2, Some(1.0)).unwrap();
        }
    }
    assert_same("parameters", &fast.named_parameters(), &slow.named_parameters());
    assert_eq!(fast.optimizer_state().step, slow.optimizer_state().step);
    assert_statistics("after", &fast.evaluate(&batch).unwrap(), &slow.evaluate(&batch).unwrap());
}

#[test]
fn misuse_is_an_error() {
    let (_, mut slow) = twins(FAMILIES[0], true);
    let message = |error: lyceum_nn::Error| error.to_string();
    assert!(message(slow.backward(&TokenGrads::default()).unwrap_err()).contains("without a forward"));
    let mut batch = tree();
    slow.logprobs(&batch).unwrap();
    let three = TokenGrads { logp: vec![1.0; 3], ..TokenGrads::default() };
    assert!(message(slow.backward(&three).unwrap_err()).contains("3 logp derivatives"));
    batch.input = Input::Ids(vec![VOCAB as u32; 22]);
    assert!(message(slow.evaluate(&batch).unwrap_err()).contains("outside the vocabulary"));
    let tensor = NamedTensor { name: "nothing", shape: &[1], data: &[0.0] };
    assert!(message(slow.load_parameters(&[tensor]).unwrap_err()).contains("nothing"));
    assert!(device("tpu").is_err());
    assert!(device("cpu").is_ok());
}
