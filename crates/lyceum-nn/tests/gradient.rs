//! The hand-written backward against finite differences, and the ways of computing it against each other.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::needless_pass_by_value,
    reason = "a test fails by panicking"
)]

mod models;

use lyceum_nn::decoder::{KernelPolicy, Options, Training};
use lyceum_nn::lora::LoraConfig;
use lyceum_nn::policy::{Batch, Policy, TokenGrads, TokenStats};
use models::{FAMILIES, ids, model, options, random_vector};

/// A loss that uses every statistic, with weights that depend on the target's place only.
fn loss(stats: &TokenStats) -> f64 {
    let grads = gradients_of(stats);
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum::<f64>();
    dot(&stats.logp, &grads.logp) + dot(&stats.entropy, &grads.entropy) + dot(&stats.value, &grads.value)
}

fn gradients_of(stats: &TokenStats) -> TokenGrads {
    let wave = |len: usize, phase: f32| (0..len).map(|i| (1.7 * i as f32 + phase).sin() + 0.3).collect();
    TokenGrads {
        logp: wave(stats.logp.len(), 0.0),
        entropy: wave(stats.entropy.len(), 1.0),
        value: wave(stats.value.len(), 2.0),
    }
}

/// Two groups with shared prompts, completions of different lengths, one plain sequence.
fn tree() -> Batch {
    let completions: Vec<Vec<u32>> = (0..5).map(|i| ids(50 + i, 3 + 7 * i as usize % 11)).collect();
    let completions: Vec<&[u32]> = completions.iter().map(Vec::as_slice).collect();
    let (one, two, three) = (ids(1, 9), ids(2, 4), ids(3, 6));
    let mut batch = Batch::of_groups(&[
        (&one, &completions[..3]),
        (&two, &completions[3..]),
        (&three[..1], &[&three[1..]]),
    ])
    .unwrap();
    batch.temperature = 0.8;
    batch
}

fn gradient(policy: &mut KernelPolicy, batch: &Batch) -> Vec<f32> {
    policy.zero_grad();
    let stats = policy.logprobs(batch).unwrap();
    policy.backward(&gradients_of(&stats)).unwrap();
    policy.named_gradients().iter().flat_map(|tensor| tensor.data).copied().collect()
}

/// The largest difference of any element, in units of its tensor's root mean square.
fn difference(policy: &KernelPolicy, a: &[f32], b: &[f32]) -> f32 {
    let mut start = 0;
    let mut worst = 0.0f32;
    for tensor in policy.named_parameters() {
        let range = start..start + tensor.data.len();
        start = range.end;
        let (a, b) = (&a[range.clone()], &b[range]);
        let rms = (a.iter().map(|x| x * x).sum::<f32>() / a.len() as f32).sqrt();
        let largest = a.iter().zip(b).map(|(x, y)| (x - y).abs()).fold(0.0, f32::max);
        worst = worst.max(largest / rms.max(1e-12));
    }
    worst
}

fn shifted_loss(policy: &mut KernelPolicy, direction: &[f32], by: f32, batch: &Batch) -> f64 {
    models::shift(policy, direction, by);
    let value = loss(&policy.evaluate(batch).unwrap());
    models::shift(policy, direction, -by);
    value
}

#[test]
fn directional_derivatives_match_for_every_family() {
    for family in FAMILIES {
        for tied in [true, false] {
            let mut policy = model(family, tied, Options { value_head: true, ..options() });
            models::perturb(&mut policy, 7, 0.05);
            let batch = tree();
            let gradient = gradient(&mut policy, &batch);
            // Along the gradient, per tensor scaled to unit length: every tensor counts the same.
            let mut direction = Vec::with_capacity(gradient.len());
            for tensor in policy.named_gradients() {
                let norm = tensor.data.iter().map(|x| x * x).sum::<f32>().sqrt();
                direction.extend(tensor.data.iter().map(|x| x / norm));
            }
            let slope: f64 =
                gradient.iter().zip(&direction).map(|(g, d)| f64::from(*g) * f64::from(*d)).sum();
            let step = 2e-3;
            let rise = shifted_loss(&mut policy, &direction, step, &batch)
                - shifted_loss(&mut policy, &direction, -step, &batch);
            let ratio = rise / (2.0 * f64::from(step)) / slope;
            assert!((ratio - 1.0).abs() < 1e-3, "{family:?}, tied {tied}: ratio {ratio}, slope {slope}");
        }
    }
}

#[test]
fn single_tensors_match_finite_differences() {
    for family in FAMILIES {
        let mut policy = model(family, false, Options { value_head: true, ..options() });
        models::perturb(&mut policy, 8, 0.05);
        let batch = tree();
        let gradient = gradient(&mut policy, &batch);
        let places: Vec<(String, std::ops::Range<usize>)> = models::places(&policy);
        for (name, range) in places {
            let mut direction = vec![0.0; gradient.len()];
            let norm = gradient[range.clone()].iter().map(|x| x * x).sum::<f32>().sqrt();
            assert!(norm > 0.0, "{family:?}: {name} has no gradient");
            for i in range {
                direction[i] = gradient[i] / norm;
            }
            let step = 4e-3;
            let rise = shifted_loss(&mut policy, &direction, step, &batch)
                - shifted_loss(&mut policy, &direction, -step, &batch);
            let ratio = rise / (2.0 * f64::from(step)) / f64::from(norm);
            assert!((ratio - 1.0).abs() < 1e-2, "{family:?}, {name}: ratio {ratio}, norm {norm}");
        }
    }
}

#[test]
fn ways_of_computing_agree() {
    for family in FAMILIES {
        let plain = Options { value_head: true, ..options() };
        let mut policy = model(family, true, plain.clone());
        let batch = tree();
        let reference = gradient(&mut policy, &batch);
        let check = |what: &str, options: Options, bound: f32| {
            let mut other = model(family, true, options);
            let other = gradient(&mut other, &batch);
            let worst = difference(&policy, &reference, &other);
            assert!(worst <= bound, "{family:?}, {what}: {worst}");
        };
        check("checkpointing", Options { checkpointing: true, ..plain.clone() }, 0.0);
        check("logits computed again", Options { kept_logits: 0, ..plain.clone() }, 0.0);
        check("small chunks", Options { head_chunk: 5, ..plain }, 1e-5);
    }
}

#[test]
fn a_larger_batch_before_does_not_matter() {
    let mut policy = model(FAMILIES[2], true, options());
    let batch = tree();
    let reference = gradient(&mut policy, &batch);
    gradient(&mut policy, &Batch::of_sequences(&[&ids(9, 150)]));
    assert_eq!(reference, gradient(&mut policy, &batch));
}

#[test]
fn the_split_into_micro_batches_does_not_matter() {
    let sequences: Vec<Vec<u32>> = (0..6).map(|i| ids(i, 5 + 3 * i as usize)).collect();
    let sequences: Vec<&[u32]> = sequences.iter().map(Vec::as_slice).collect();
    let mut policy = model(FAMILIES[0], true, options());
    let whole = |policy: &mut KernelPolicy, parts: usize| {
        policy.zero_grad();
        let mut logp = Vec::new();
        for part in sequences.chunks(sequences.len() / parts) {
            let batch = Batch::of_sequences(part);
            let weights = vec![0.1; batch.targets.len()];
            logp.extend(policy.weighted_likelihood(&batch, &weights).unwrap().logp);
        }
        let gradient: Vec<f32> = policy.named_gradients().iter().flat_map(|t| t.data).copied().collect();
        (logp, gradient)
    };
    let (logp, reference) = whole(&mut policy, 1);
    for parts in [2, 3, 6] {
        let (other, gradient) = whole(&mut policy, parts);
        assert!(logp.iter().zip(&other).all(|(a, b)| (a - b).abs() < 1e-5));
        let worst = difference(&policy, &reference, &gradient);
        assert!(worst < 1e-5, "{parts} parts: {worst}");
    }
}

#[test]
fn a_shared_prompt_equals_repeated_prompts() {
    let prompt = ids(1, 13);
    let completions: Vec<Vec<u32>> = (0..4).map(|i| ids(20 + i, 2 + 5 * i as usize)).collect();
    let slices: Vec<&[u32]> = completions.iter().map(Vec::as_slice).collect();
    let shared = Batch::of_groups(&[(&prompt, &slices)]).unwrap();
    let groups: Vec<[&[u32]; 1]> = slices.iter().map(|completion| [*completion]).collect();
    let groups: Vec<(&[u32], &[&[u32]])> =
        groups.iter().map(|group| (prompt.as_slice(), group.as_slice())).collect();
    let repeated = Batch::of_groups(&groups).unwrap();
    assert!(shared.rows() < repeated.rows());
    for family in FAMILIES {
        let mut policy = model(family, false, options());
        let (one, two) = (policy.evaluate(&shared).unwrap(), policy.evaluate(&repeated).unwrap());
        assert!(one.logp.iter().zip(&two.logp).all(|(a, b)| (a - b).abs() < 1e-5));
        let one = gradient(&mut policy, &shared);
        let two = gradient(&mut policy, &repeated);
        let worst = difference(&policy, &one, &two);
        assert!(worst < 2e-5, "{family:?}: {worst}");
    }
}

#[test]
fn weighted_likelihood_is_logprobs_and_backward() {
    let mut policy = model(FAMILIES[1], true, options());
    let batch = tree();
    let weights: Vec<f32> = random_vector(3, batch.targets.len());
    policy.zero_grad();
    let fused = policy.weighted_likelihood(&batch, &weights).unwrap();
    let one: Vec<f32> = policy.named_gradients().iter().flat_map(|t| t.data).copied().collect();
    policy.zero_grad();
    let stats = policy.logprobs(&batch).unwrap();
    let logp = weights.iter().map(|weight| -weight).collect();
    policy.backward(&TokenGrads { logp, ..TokenGrads::default() }).unwrap();
    let two: Vec<f32> = policy.named_gradients().iter().flat_map(|t| t.data).copied().collect();
    assert_eq!(fused, stats);
    assert_eq!(fused, policy.evaluate(&batch).unwrap());
    assert!(difference(&policy, &one, &two) < 1e-5);
}

#[test]
fn adapters_get_true_gradients() {
    for family in FAMILIES {
        let targets = lyceum_nn::lora::LINEAR_LAYERS.map(str::to_owned).to_vec();
        let lora = LoraConfig { rank: 3, alpha: 5.0, targets };
        let training = Training::Lora(lora);
        let mut policy = model(family, false, Options { training, value_head: true, ..options() });
        models::perturb(&mut policy, 9, 0.1);
        let batch = tree();
        let gradient = gradient(&mut policy, &batch);
        for (name, range) in models::places(&policy) {
            let norm = gradient[range.clone()].iter().map(|x| x * x).sum::<f32>().sqrt();
            assert!(norm > 0.0, "{family:?}: {name} has no gradient");
            let mut direction = vec![0.0; gradient.len()];
            for i in range {
                direction[i] = gradient[i] / norm;
            }
            let step = 4e-3;
            let rise = shifted_loss(&mut policy, &direction, step, &batch)
                - shifted_loss(&mut policy, &direction, -step, &batch);
            let ratio = rise / (2.0 * f64::from(step)) / f64::from(norm);
            assert!((ratio - 1.0).abs() < 1e-2, "{family:?}, {name}: ratio {ratio}, norm {norm}");
        }
    }
}

#[test]
fn embeddings_as_input_get_a_gradient() {
    use lyceum_nn::policy::Input;
    let mut policy = model(FAMILIES[0], true, options());
    let sequence = ids(4, 12);
    let by_ids = Batch::of_sequences(&[&sequence]);
    let hidden = policy.config().hidden_size;
    let table = policy.named_parameters()[0].data.to_vec();
    let data: Vec<f32> =
        sequence.iter().flat_map(|&id| table[id as usize * hidden..][..hidden].to_vec()).collect();
    let mut by_rows = Batch { input: Input::Embeddings { data: data.clone() }, ..by_ids.clone() };
    assert_eq!(policy.evaluate(&by_ids).unwrap(), policy.evaluate(&by_rows).unwrap());
    let stats = policy.logprobs(&by_rows).unwrap();
    policy.backward(&gradients_of(&stats)).unwrap();
    let gradient = policy.input_gradient().to_vec();
    let norm = gradient.iter().map(|x| x * x).sum::<f32>().sqrt();
    let step = 1e-3;
    let mut moved = |sign: f32| {
        let data = data.iter().zip(&gradient).map(|(x, g)| x + sign * step * g / norm).collect();
        by_rows.input = Input::Embeddings { data };
        loss(&policy.evaluate(&by_rows).unwrap())
    };
    let ratio = (moved(1.0) - moved(-1.0)) / (2.0 * f64::from(step)) / f64::from(norm);
    assert!((ratio - 1.0).abs() < 2e-3, "{ratio}");
}
