//! Rows against the cache: what they may and may not depend on, and that they agree with the trainer's forward.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::needless_pass_by_value,
    reason = "a test fails by panicking"
)]

mod models;

use lyceum_kernels::Precision;
use lyceum_nn::decoder::{Decoder, KernelPolicy, KvCache, Options, RowInput, Slot, Training};
use lyceum_nn::lora::LoraConfig;
use lyceum_nn::policy::{Batch, Policy};
use models::{FAMILIES, VOCAB, ids, model, options};

/// Feeds `tokens` one at a time; the logits after each.
fn one_by_one(decoder: &Decoder, cache: &mut KvCache, slot: Slot, tokens: &[u32]) -> Vec<Vec<f32>> {
    let mut logits = Vec::new();
    let step = |&token: &u32| {
        decoder.extend(cache, &[RowInput { token, slot }], &[0], &mut logits).unwrap();
        logits.clone()
    };
    tokens.iter().map(step).collect()
}

fn logp(logits: &[f32], token: u32) -> f32 {
    let greatest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|z| f64::from(z - greatest).exp()).sum();
    logits[token as usize] - greatest - sum.ln() as f32
}

fn models_of_both_precisions() -> impl Iterator<Item = (KernelPolicy, f32)> {
    FAMILIES.into_iter().flat_map(|family| {
        [(Precision::F32, 1e-4), (Precision::Bf16, 0.05)]
            .map(|(precision, bound)| (model(family, true, Options { precision, ..options() }), bound))
    })
}

#[test]
fn logits_agree_with_the_trainers_forward() {
    for (policy, bound) in models_of_both_precisions() {
        let tokens = ids(5, 40);
        let trained = policy.evaluate(&Batch::of_sequences(&[&tokens])).unwrap();
        let mut cache = policy.decoder().cache();
        let slot = cache.allocate();
        let logits = one_by_one(policy.decoder(), &mut cache, slot, &tokens);
        for (i, &expected) in trained.logp.iter().enumerate() {
            let found = logp(&logits[i], tokens[i + 1]);
            assert!((found - expected).abs() < bound, "position {i}: {found} for {expected}");
        }
    }
}

#[test]
fn a_prompt_may_be_cut_anywhere() {
    for (policy, _) in models_of_both_precisions() {
        let decoder = policy.decoder();
        let tokens = ids(6, 45);
        let mut cache = decoder.cache();
        let slot = cache.allocate();
        let expected = one_by_one(decoder, &mut cache, slot, &tokens);
        for cut in [1, 7, 33, 44] {
            let slot = cache.allocate();
            let mut logits = Vec::new();
            for part in [&tokens[..cut], &tokens[cut..]] {
                decoder.prefill(&mut cache, &[(slot, part)], &mut logits).unwrap();
            }
            assert_eq!(logits, expected[44], "cut at {cut}");
            cache.release(slot);
        }
    }
}

#[test]
fn rows_do_not_depend_on_their_company() {
    for (policy, _) in models_of_both_precisions() {
        let decoder = policy.decoder();
        for batch in [1, 16, 64] {
            let mut cache = decoder.cache();
            let prompts: Vec<Vec<u32>> =
                (0..batch).map(|i| ids(100 + i, 1 + (i as usize * 7) % 40)).collect();
            let slots: Vec<Slot> = prompts.iter().map(|_| cache.allocate()).collect();
            let given: Vec<(Slot, &[u32])> =
                slots.iter().copied().zip(prompts.iter().map(Vec::as_slice)).collect();
            let mut logits = Vec::new();
            decoder.prefill(&mut cache, &given, &mut logits).unwrap();
            let after_prompts = logits.clone();
            let rows: Vec<RowInput> =
                slots.iter().zip(0..).map(|(&slot, i)| RowInput { token: i % VOCAB as u32, slot }).collect();
            let wanted: Vec<usize> = (0..rows.len()).rev().collect();
            decoder.extend(&mut cache, &rows, &wanted, &mut logits).unwrap();
            for i in [0, batch as usize / 2, batch as usize - 1] {
                let alone = cache.allocate();
                let mut expected = Vec::new();
                decoder.prefill(&mut cache, &[(alone, prompts[i].as_slice())], &mut expected).unwrap();
                assert_eq!(expected, after_prompts[i * VOCAB..(i + 1) * VOCAB], "prompt {i} of {batch}");
                let expected = one_by_one(decoder, &mut cache, alone, &[rows[i].token]);
                let place = batch as usize - 1 - i;
                assert_eq!(expected[0], logits[place * VOCAB..(place + 1) * VOCAB], "row {i} of {batch}");
            }
        }
    }
}

#[test]
fn forks_continue_their_parent_and_slots_are_used_again() {
    let policy = model(FAMILIES[2], true, options());
    let decoder = policy.decoder();
    let (prompt, one, two) = (ids(1, 35), ids(2, 5), ids(3, 9));
    let mut cache = decoder.cache();
    let expected: Vec<Vec<Vec<f32>>> = [&one, &two]
        .iter()
        .map(|rest| {
            let slot = cache.allocate();
            one_by_one(decoder, &mut cache, slot, &prompt);
            let logits = one_by_one(decoder, &mut cache, slot, rest);
            cache.release(slot);
            logits
        })
        .collect();
    assert!(cache.is_empty());
    let bytes = cache.bytes();

    let parent = cache.allocate();
    let mut logits = Vec::new();
    decoder.prefill(&mut cache, &[(parent, prompt.as_slice())], &mut logits).unwrap();
    let first = cache.fork(parent);
    // The parent goes on by itself: its forks do not see it.
    one_by_one(decoder, &mut cache, parent, &one);
    cache.release(parent);
    assert_eq!(one_by_one(decoder, &mut cache, first, &one[..2]), expected[0][..2]);
    let second = cache.fork(first);
    assert_eq!(one_by_one(decoder, &mut cache, first, &one[2..]), expected[0][2..]);
    assert_eq!((cache.len(first), cache.len(second)), (40, 37));
    cache.release(first);
    cache.release(second);
    assert!(cache.is_empty());

    let fresh = cache.allocate();
    one_by_one(decoder, &mut cache, fresh, &prompt);
    assert_eq!(one_by_one(decoder, &mut cache, fresh, &two), expected[1]);
    assert!(cache.bytes() <= 3 * bytes, "room is used again");
}

#[test]
fn bad_rows_are_refused_and_change_nothing() {
    let policy = model(FAMILIES[0], true, options());
    let decoder = policy.decoder();
    let mut cache = decoder.cache();
    let slot = cache.allocate();
    let mut logits = Vec::new();
    let long = ids(1, 257);
    let full = decoder.prefill(&mut cache, &[(slot, long.as_slice())], &mut logits).unwrap_err();
    assert!(full.to_string().contains("256"), "{full}");
    assert_eq!(cache.len(slot), 0);
    let gone = cache.allocate();
    cache.release(gone);
    for row in [RowInput { token: VOCAB as u32, slot }, RowInput { token: 0, slot: gone }] {
        let rows = [RowInput { token: 1, slot }, row];
        assert!(decoder.extend(&mut cache, &rows, &[1], &mut logits).is_err());
        assert_eq!(cache.len(slot), 0);
    }
    assert!(decoder.extend(&mut cache, &[RowInput { token: 1, slot }], &[1], &mut logits).is_err());
    assert!(decoder.prefill(&mut cache, &[(slot, &[])], &mut logits).is_err());
}

#[test]
fn adapters_take_part() {
    let training = Training::Lora(LoraConfig::all_linear(4));
    let mut policy = model(FAMILIES[1], true, Options { training, ..options() });
    models::perturb(&mut policy, 1, 0.2);
    let tokens = ids(5, 20);
    let batch = Batch::of_sequences(&[&tokens]);
    let (on, off) = (policy.evaluate(&batch).unwrap(), policy.evaluate_base(&batch).unwrap());
    let mut cache = policy.decoder().cache();
    let slot = cache.allocate();
    let logits = one_by_one(policy.decoder(), &mut cache, slot, &tokens);
    let found: Vec<f32> = logits.iter().zip(&tokens[1..]).map(|(row, &token)| logp(row, token)).collect();
    assert!(found.iter().zip(&on.logp).all(|(a, b)| (a - b).abs() < 1e-4));
    assert!(found.iter().zip(&off.logp).any(|(a, b)| (a - b).abs() > 1e-2));
}
