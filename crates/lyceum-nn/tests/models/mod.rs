//! Small random models of every family, and ways to nudge them.
#![allow(dead_code, reason = "each test file uses its part")]

use lyceum_kernels::{Pool, Precision};
use lyceum_nn::DecoderConfig;
use lyceum_nn::config::{Family, Llama3Scaling};
use lyceum_nn::decoder::{KernelPolicy, Options};
use lyceum_nn::policy::{NamedTensor, Policy};
use lyceum_nn::presets::tiny_0_3m;
use std::ops::Range;
use std::sync::Arc;

pub const FAMILIES: [Family; 3] = [Family::Llama, Family::Qwen2, Family::Qwen3];
pub const VOCAB: usize = 61;

/// Two layers, grouped heads, odd sizes; Llama with stretched rope, Qwen3 with heads wider than hidden / heads.
pub fn config(family: Family, tied: bool) -> DecoderConfig {
    let scaling = Llama3Scaling {
        factor: 4.0,
        low_freq_factor: 1.0,
        high_freq_factor: 4.0,
        original_max_positions: 16,
    };
    DecoderConfig {
        family,
        num_layers: 2,
        hidden_size: 36,
        num_heads: 6,
        num_kv_heads: if family == Family::Qwen2 { 2 } else { 3 },
        head_dim: if family == Family::Qwen3 { 10 } else { 6 },
        intermediate_size: 50,
        tied_embeddings: tied,
        rope_scaling: (family == Family::Llama).then_some(scaling),
        max_positions: 256,
        ..tiny_0_3m(VOCAB)
    }
}

pub fn options() -> Options {
    Options { precision: Precision::F32, ..Options::default() }
}

pub fn model(family: Family, tied: bool, options: Options) -> KernelPolicy {
    let mut policy = KernelPolicy::random(config(family, tied), options, pool(), 11).unwrap();
    if policy.named_parameters().iter().any(|tensor| tensor.name == "model.norm.weight") {
        // Weights of 0.02 make a nearly linear model; larger ones exercise the softmaxes.
        let enlarged = |tensor: &NamedTensor<'_>| {
            let factor = if tensor.shape.len() == 2 { 6.0 } else { 1.0 };
            tensor.data.iter().map(move |x| factor * x).collect::<Vec<f32>>()
        };
        let values = policy.named_parameters().iter().flat_map(enlarged).collect();
        load(&mut policy, values);
    }
    policy
}

/// One thread: the harness already runs as many tests as there are processors.
pub fn pool() -> Arc<Pool> {
    Arc::new(Pool::new(1))
}

/// Token ids that look random.
pub fn ids(seed: u64, len: usize) -> Vec<u32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) + 1;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as u32
    };
    (0..len).map(|_| next() % VOCAB as u32).collect()
}

/// Numbers in [-1, 1) that look random.
pub fn random_vector(seed: u64, len: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) + 1;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1u32 << 23) as f32 - 1.0
    };
    (0..len).map(|_| next()).collect()
}

/// Names of the trainable tensors and their places in the flat vector.
pub fn places(policy: &KernelPolicy) -> Vec<(String, Range<usize>)> {
    let mut start = 0;
    let place = |tensor: NamedTensor<'_>| {
        let range = start..start + tensor.data.len();
        start = range.end;
        (tensor.name.to_owned(), range)
    };
    policy.named_parameters().into_iter().map(place).collect()
}

/// Replaces the flat vector of trainable parameters.
#[allow(clippy::needless_pass_by_value, reason = "callers make the values for this call")]
pub fn load(policy: &mut KernelPolicy, values: Vec<f32>) {
    let places = places(policy);
    let tensors: Vec<NamedTensor<'_>> = places
        .iter()
        .map(|(name, range)| NamedTensor { name, shape: &[], data: &values[range.clone()] })
        .collect();
    policy.load_parameters(&tensors).unwrap();
}

/// Adds `by * direction` to the flat vector.
pub fn shift(policy: &mut KernelPolicy, direction: &[f32], by: f32) {
    let flat = policy.named_parameters();
    let flat = flat.iter().flat_map(|tensor| tensor.data);
    let moved = flat.zip(direction).map(|(x, d)| x + by * d).collect();
    load(policy, moved);
}

/// Adds noise to every parameter, so that none is at a special place (norms at one, biases at zero).
pub fn perturb(policy: &mut KernelPolicy, seed: u64, size: f32) {
    let len = policy.named_parameters().iter().map(|tensor| tensor.data.len()).sum();
    shift(policy, &random_vector(seed, len), size);
}
