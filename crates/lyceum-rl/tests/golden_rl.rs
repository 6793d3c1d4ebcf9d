//! Advantages, estimators and losses against TRL and PyTorch: parity/golden/rl.json, made by parity/make_golden.py.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::needless_pass_by_value,
    reason = "a test fails by panicking"
)]

use lyceum_rl::advantage::{Scale, gae, group_relative, leave_one_out, whiten};
use lyceum_rl::denominator::{Denominator, token_weights};
use lyceum_rl::kl::{KlKind, KlPenalty, KlPlace};
use lyceum_rl::objective::{Objective, ObjectiveStats, Ratio, SampleTokens};
use serde_json::Value;

fn golden() -> Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../parity/golden/rl.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn row(value: &Value) -> Vec<f32> {
    value.as_array().unwrap().iter().map(|x| x.as_f64().unwrap() as f32).collect()
}

fn rows(value: &Value) -> Vec<Vec<f32>> {
    value.as_array().unwrap().iter().map(row).collect()
}

/// The entries of a padded row that the mask keeps.
fn masked(values: &[f32], mask: &[f32]) -> Vec<f32> {
    values.iter().zip(mask).filter(|(_, m)| **m > 0.0).map(|(v, _)| *v).collect()
}

fn assert_close(found: &[f32], expected: &[f32], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (i, (a, b)) in found.iter().zip(expected).enumerate() {
        assert!((a - b).abs() <= 2e-5 * (1.0 + b.abs()), "{what}[{i}]: {a} is not {b}");
    }
}

#[test]
fn group_advantages() {
    let golden = golden();
    let scored = &golden["advantages"]["scored"];
    let rewards = row(&scored["rewards"]);
    let of =
        |estimate: fn(&[f32]) -> Vec<f32>| -> Vec<f32> { rewards.chunks(4).flat_map(estimate).collect() };
    assert_close(&of(|g| group_relative(g, Scale::Std)), &row(&scored["grpo_std"]), "std");
    assert_close(&of(|g| group_relative(g, Scale::None)), &row(&scored["grpo_mean_only"]), "mean only");
    assert_close(&of(leave_one_out), &row(&scored["rloo"]), "rloo");
}

#[test]
fn generalised_advantages() {
    let golden = golden();
    let golden = &golden["gae"];
    let (gamma, lambda) =
        (golden["gamma"].as_f64().unwrap() as f32, golden["lambda"].as_f64().unwrap() as f32);
    let case = &golden["right_padded"];
    let masks = rows(&case["mask"]);
    let mut all = Vec::new();
    let mut whitened = Vec::new();
    for (i, mask) in masks.iter().enumerate() {
        let pick = |key: &Value| masked(&rows(key)[i], mask);
        let (advantages, returns) = gae(&pick(&golden["rewards"]), &pick(&golden["values"]), gamma, lambda);
        assert_close(&advantages, &pick(&case["advantages"]), "advantages");
        assert_close(&returns, &pick(&case["returns"]), "returns");
        all.extend(advantages);
        whitened.extend(pick(&case["whitened"]));
    }
    whiten(&mut all);
    assert_close(&all, &whitened, "whitened");
}

#[test]
fn divergence_estimators() {
    let golden = golden();
    let (logp, reference) = (rows(&golden["batch"]["logp"]), rows(&golden["batch"]["reference_logp"]));
    for (kind, name) in [(KlKind::K1, "k1"), (KlKind::K2, "k2"), (KlKind::K3, "k3")] {
        let (values, slopes) = (rows(&golden["kl"][name]["value"]), rows(&golden["kl"][name]["d_logp"]));
        for i in 0..logp.len() {
            let found: Vec<(f32, f32)> =
                logp[i].iter().zip(&reference[i]).map(|(&a, &b)| kind.estimate(a, b)).collect();
            assert_close(&found.iter().map(|f| f.0).collect::<Vec<_>>(), &values[i], name);
            assert_close(&found.iter().map(|f| f.1).collect::<Vec<_>>(), &slopes[i], name);
        }
    }
}

/// The objective a golden case describes, or `None` for the variants that Lyceum leaves out.
fn objective(spec: &Value) -> Option<Objective> {
    let number = |key: &str| spec[key].as_f64().map(|x| x as f32);
    let ratio = match spec["ratio"].as_str()? {
        "token" => Ratio::Token,
        "sequence" => Ratio::Sequence,
        _ => return None,
    };
    let kl = match spec["kl"].as_str() {
        None => None,
        Some("k1") => Some(KlKind::K1),
        Some("k2") => Some(KlKind::K2),
        Some("k3") => Some(KlKind::K3),
        Some(_) => return None,
    };
    let importance_cap = match &spec["correction"] {
        Value::Null => None,
        c if c["level"] == "token" && c["outside"] == "truncate" => Some(c["max"].as_f64()? as f32),
        _ => return None,
    };
    (number("ratio_cap").is_none()).then(|| Objective {
        ratio,
        clip_low: number("clip_low").unwrap(),
        clip_high: number("clip_high").unwrap(),
        kl: kl.map(|kind| KlPenalty {
            kind,
            coefficient: number("kl_coefficient").unwrap(),
            place: KlPlace::Loss,
        }),
        entropy: number("entropy_coefficient").unwrap(),
        importance_cap,
        ..Objective::default()
    })
}

#[test]
fn policy_losses_and_gradients() {
    let golden = golden();
    let batch = &golden["batch"];
    let column = |key: &str| rows(&batch[key]);
    let mask = column("mask");
    let lengths: Vec<usize> = mask.iter().map(|m| m.iter().filter(|x| **x > 0.0).count()).collect();
    let advantages = row(&batch["advantages"]);
    let mut checked = 0;
    for case in golden["policy"].as_array().unwrap() {
        let (name, spec) = (case["name"].as_str().unwrap(), &case["objective"]);
        let Some(objective) = objective(spec) else { continue };
        // TRL averages the entropy over the batch's own tokens whatever the loss is averaged over; Lyceum has one
        // denominator. Where the two differ, only the gradient by log-probability is comparable.
        let one_denominator = objective.entropy == 0.0 || name == "entropy-token";
        let weights = match spec["denominator"].as_str().unwrap() {
            "token" => match spec["token_count"].as_u64() {
                Some(total) => vec![1.0 / total as f32; lengths.len()],
                None => token_weights(Denominator::Token, &lengths, 0),
            },
            "sequence" => token_weights(Denominator::Sequence, &lengths, 0),
            "fixed" => {
                let limit = spec["fixed_length"].as_u64().unwrap() as usize;
                token_weights(Denominator::FixedLength, &lengths, limit)
            }
            other => panic!("{name}: denominator {other}"),
        };
        let old_key = if case["old_logp_is_logp"] == true { "logp" } else { "old_logp" };
        let mut stats = ObjectiveStats::default();
        for i in 0..mask.len() {
            let pick = |key: &str| masked(&column(key)[i], &mask[i]);
            let advantage = vec![advantages[i]; lengths[i]];
            let (own, grads) = objective.evaluate(&SampleTokens {
                logp: &pick("logp"),
                entropy: &pick("entropy"),
                value: &[],
                behaviour: &pick("behaviour_logp"),
                old: &pick(old_key),
                old_value: &[],
                reference: &pick("reference_logp"),
                advantage: &advantage,
                returns: &[],
                weight: weights[i],
            });
            stats += own;
            assert_close(&grads.logp, &masked(&rows(&case["d_logp"])[i], &mask[i]), name);
            if objective.entropy != 0.0 && one_denominator {
                assert_close(&grads.entropy, &masked(&rows(&case["d_entropy"])[i], &mask[i]), name);
            }
        }
        let expected = case["loss"].as_f64().unwrap();
        let error = (stats.loss - expected).abs();
        assert!(
            !one_denominator || error < 1e-5 * (1.0 + expected.abs()),
            "{name}: {} is not {expected}",
            stats.loss
        );
        checked += 1;
    }
    assert!(checked >= 17, "only {checked} golden cases apply");
}

#[test]
fn critic_loss_and_gradient() {
    let golden = golden();
    let (value, mask) = (&golden["value"], rows(&golden["batch"]["mask"]));
    let tokens: f32 = mask.iter().flatten().sum();
    for (key, clip) in [("clipped", Some(value["clip"].as_f64().unwrap() as f32)), ("unclipped", None)] {
        // The golden loss is half the mean squared error; Lyceum's carries the same half.
        let objective = Objective { value: 1.0, value_clip: clip, ..Objective::default() };
        let mut loss = 0.0;
        for (i, mask) in mask.iter().enumerate() {
            let pick = |key: &Value| masked(&rows(key)[i], mask);
            let zeros = vec![0.0; pick(&value["value"]).len()];
            let (stats, grads) = objective.evaluate(&SampleTokens {
                logp: &zeros,
                entropy: &[],
                value: &pick(&value["value"]),
                behaviour: &zeros,
                old: &[],
                old_value: &pick(&value["old_value"]),
                reference: &[],
                advantage: &zeros,
                returns: &pick(&value["returns"]),
                weight: 1.0 / tokens,
            });
            loss += stats.loss;
            assert_close(&grads.value, &pick(&value[key]["d_value"]), key);
        }
        let expected = value[key]["loss"].as_f64().unwrap();
        assert!((loss - expected).abs() < 1e-5, "{key}: {loss} is not {expected}");
    }
}
