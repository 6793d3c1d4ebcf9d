//! What must hold in every training run: generator and trainer agree, gradients do not depend on how they are
//! computed, and only what was sampled and scored is trained on.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::needless_pass_by_value,
    reason = "a test fails by panicking"
)]

use std::sync::Arc;

use lyceum_env::reward::Rewards;
use lyceum_env::task;
use lyceum_hub::Silent;
use lyceum_kernels::Pool;
use lyceum_nn::policy::{Batch, NamedTensor, Policy, TokenGrads};
use lyceum_rl::experience::Sequence;
use lyceum_rl::learner::Learner;
use lyceum_rl::memory::Memory;
use lyceum_rl::objective::Form;
use lyceum_rl::recipe::{PolicySpec, PrecisionSpec, Recipe};
use lyceum_rl::round::{Collected, Setting, collect, learn};
use lyceum_rl::supervised;
use lyceum_run::Row;
use lyceum_trace::{Source, TokenRecord, Trace};
use serde_json::{Value, json};

type Groups = Vec<Vec<Trace>>;
/// A gradient by tensor.
type Gradient = Vec<(String, Vec<f32>)>;

/// A recipe of three prompts with four samples each; `policy` and `model` replace or add keys.
fn recipe(model: &Value, policy: &Value) -> Recipe {
    let mut recipe = json!({
        "name": "invariants", "seed": 5,
        "model": {"name": "tiny-0.3m", "precision": "f32", "context": 96},
        "task": {"name": "chain", "steps": [1, 3], "longer": [4, 4]},
        "policy": {"updates": 4, "prompts": 3, "samples": 4, "max_new_tokens": 20, "decode_batch": 5},
        "optimizer": {"learning_rate": 1e-2},
    });
    for (table, changes) in [("model", model), ("policy", policy)] {
        for (key, value) in changes.as_object().unwrap() {
            recipe[table][key] = value.clone();
        }
    }
    let recipe: Recipe = serde_json::from_value(recipe).unwrap();
    recipe.validate().unwrap();
    recipe
}

fn spec(recipe: &Recipe) -> &PolicySpec {
    recipe.policy.as_ref().unwrap()
}

fn learner(recipe: &Recipe) -> Learner {
    Learner::load(recipe, &Arc::new(Pool::new(2)), &Silent).unwrap()
}

/// A learner whose matrices are `factor` times the usual: its distributions are far from uniform.
fn sharp(recipe: &Recipe, factor: f32) -> Learner {
    let mut learner = learner(recipe);
    let policy = &mut learner.model.policy;
    let owned: Vec<(String, Vec<f32>)> = policy
        .named_parameters()
        .iter()
        .map(|t| (t.name.to_owned(), t.data.iter().map(|x| x * factor).collect()))
        .collect();
    let tensors: Vec<NamedTensor<'_>> =
        owned.iter().map(|(name, data)| NamedTensor { name, shape: &[], data }).collect();
    policy.load_parameters(&tensors).unwrap();
    learner
}

fn rollouts(learner: &Learner, recipe: &Recipe, round: u64) -> Groups {
    let task = task::open(&recipe.task).unwrap();
    let mut rewards = Rewards::open(&spec(recipe).reward);
    let setting = Setting { recipe, spec: spec(recipe), task: task.as_ref(), tools: None };
    let mut memory = Memory::default();
    collect(setting, learner, &mut rewards, &mut memory, None, round, &mut |_| {}).unwrap().groups
}

/// Rewards that an untrained model would not get: they differ within each group, and between groups.
fn graded(mut groups: Groups) -> Groups {
    for (g, group) in groups.iter_mut().enumerate() {
        for (s, trace) in group.iter_mut().enumerate() {
            trace.total = Some(((3 * g + 2 * s) % 5) as f64 / 2.0 - 0.5);
        }
    }
    groups
}

fn train(learner: &mut Learner, recipe: &Recipe, groups: &Groups) -> Row {
    train_at(learner, recipe, groups, 0)
}

fn train_at(learner: &mut Learner, recipe: &Recipe, groups: &Groups, round: u64) -> Row {
    let task = task::open(&recipe.task).unwrap();
    let setting = Setting { recipe, spec: spec(recipe), task: task.as_ref(), tools: None };
    let collected = Collected { groups: groups.clone(), numbers: Vec::new() };
    learn(setting, learner, &mut Memory::default(), &collected, round).unwrap()
}

fn named(tensors: Vec<NamedTensor<'_>>) -> Gradient {
    tensors.into_iter().map(|t| (t.name.to_owned(), t.data.to_vec())).collect()
}

fn gradient(learner: &Learner) -> Gradient {
    named(learner.model.policy.named_gradients())
}

/// The largest distance of two gradients, each tensor's as a share of its root mean square.
fn distance(a: &Gradient, b: &Gradient) -> f64 {
    let rms = |values: &mut dyn Iterator<Item = f64>, n: usize| {
        (values.map(|x| x * x).sum::<f64>() / n as f64).sqrt()
    };
    let mut worst = 0.0f64;
    let mut compared = 0;
    for ((name, x), (other, y)) in a.iter().zip(b) {
        assert_eq!(name, other);
        let size = rms(&mut x.iter().map(|&x| f64::from(x)), x.len());
        let apart = rms(&mut x.iter().zip(y).map(|(&x, &y)| f64::from(x) - f64::from(y)), x.len());
        if size > 0.0 {
            worst = worst.max(apart / size);
            compared += 1;
        } else {
            assert_eq!(apart, 0.0, "{name}");
        }
    }
    assert!(compared > a.len() / 2, "only {compared} of {} tensors have a gradient", a.len());
    worst
}

#[test]
fn generator_and_trainer_agree_on_what_was_sampled() {
    let cut = json!({"sampling": {"temperature": 0.7, "top_k": 30, "top_p": 0.9}});
    for policy in [json!({}), cut] {
        for (precision, bound) in [("f32", 1e-4), ("bf16", 0.02)] {
            let recipe = recipe(&json!({"precision": precision}), &policy);
            let mut learner = sharp(&recipe, 2.5);
            let groups = graded(rollouts(&learner, &recipe, 0));
            let spread =
                groups.iter().flatten().flat_map(|t| t.calls[0].tokens.as_ref().unwrap().logp_by_token());
            let lowest = spread.flatten().fold(0.0f32, f32::min);
            assert!(lowest < -2.0, "the distribution must not be trivial: {lowest}");
            let row = train(&mut learner, &recipe, &groups);
            let gap = row.metrics["policy/gap"];
            assert!(gap <= bound, "{precision}: {gap:e}");
            assert!((row.metrics["policy/ratio"] - 1.0).abs() <= bound, "{:e}", row.metrics["policy/ratio"]);
            // Another model's rollouts are noticed.
            let stale = train_at(&mut learner, &recipe, &groups, 1);
            assert!(stale.metrics["policy/gap"] > bound, "{precision}: {:e}", stale.metrics["policy/gap"]);
        }
    }
}

#[test]
fn the_divergence_from_the_reference_is_zero_at_the_first_step_and_not_later() {
    let lora = json!({"rank": 4, "alpha": 8.0});
    for model in [
        json!({}),
        json!({"precision": "bf16"}),
        json!({"lora": lora}),
        json!({"lora": lora, "precision": "bf16"}),
    ] {
        for kind in ["k1", "k2", "k3"] {
            let recipe = recipe(&model, &json!({"objective": {"kl": {"kind": kind, "coefficient": 0.1}}}));
            let mut learner = learner(&recipe);
            let groups = graded(rollouts(&learner, &recipe, 0));
            let first = train(&mut learner, &recipe, &groups);
            // In bf16 the two forwards round at different places.
            let bound = if recipe.model.precision == PrecisionSpec::F32 { 1e-7 } else { 1e-4 };
            assert!(
                first.metrics["policy/kl"].abs() < bound,
                "{model} {kind}: {:e}",
                first.metrics["policy/kl"]
            );
            let second = train_at(&mut learner, &recipe, &groups, 1);
            assert!(
                second.metrics["policy/kl"].abs() > 1e-6,
                "{model} {kind}: {:e}",
                second.metrics["policy/kl"]
            );
        }
    }
}

#[test]
fn the_gradient_does_not_depend_on_the_micro_batches() {
    let kinds = [
        ("grpo", "token"),
        ("grpo", "sequence"),
        ("grpo", "fixed-length"),
        ("rloo", "token"),
        ("gae", "token"),
    ];
    for precision in ["f32", "bf16"] {
        for (advantage, denominator) in kinds {
            let run = |micro_tokens: usize| {
                let policy = json!({
                    "advantage": {"kind": advantage}, "denominator": denominator, "micro_tokens": micro_tokens,
                });
                let recipe = recipe(&json!({"precision": precision}), &policy);
                let mut learner = sharp(&recipe, 2.0);
                let groups = graded(rollouts(&learner, &recipe, 0));
                train(&mut learner, &recipe, &groups);
                gradient(&learner)
            };
            let whole = run(100_000);
            // 100 rows hold a group; below, a group is cut and its prompt computed again: in bf16 the derivatives at
            // the prompt are then rounded before they are added, not after.
            for (micro_tokens, bf16) in [(100, 1e-3), (47, 5e-3), (1, 5e-3)] {
                let bound = if precision == "f32" { 1e-5 } else { bf16 };
                let apart = distance(&whole, &run(micro_tokens));
                println!("{precision} {advantage} {denominator} {micro_tokens}: {apart:.1e}");
                assert!(apart <= bound, "{precision} {advantage} {denominator} {micro_tokens}: {apart:e}");
            }
        }
    }
}

#[test]
fn imitation_does_not_depend_on_the_micro_batches() {
    let recipe = recipe(&json!({}), &json!({}));
    let demonstrations: Vec<Sequence> = (1..9u32)
        .map(|n| {
            Sequence::demonstration(
                (0..6 + 3 * n).map(|i| 40 + (i * n) % 50).collect(),
                (4..6 + 3 * n).collect(),
            )
        })
        .collect();
    let run = |micro_tokens| {
        let mut learner = sharp(&recipe, 2.0);
        let policy = &mut learner.model.policy;
        let report =
            supervised::step(policy, &demonstrations, micro_tokens, &recipe.optimizer, 0, 1).unwrap();
        (report.loss, gradient(&learner))
    };
    let (loss, whole) = run(100_000);
    for micro_tokens in [1, 20, 60] {
        let (part_loss, part) = run(micro_tokens);
        assert!((loss - part_loss).abs() < 1e-5 * loss, "{loss} {part_loss}");
        let apart = distance(&whole, &part);
        assert!(apart <= 1e-5, "{micro_tokens}: {apart:e}");
    }
}

/// The slow twin: every sample alone and unshared, its whole sequence predicted, and the derivative set by hand to
/// -advantage / tokens at sampled tokens and to 0 at those of prompt and tool.
#[test]
fn prompt_and_tool_tokens_get_no_gradient() {
    let recipe = recipe(
        &json!({}),
        &json!({"objective": {"form": "weighted-likelihood"}, "advantage": {"kind": "grpo", "scale": "none"}}),
    );
    assert_eq!(spec(&recipe).objective.form, Form::WeightedLikelihood);
    let mut learner = sharp(&recipe, 2.0);
    let mut groups = graded(rollouts(&learner, &recipe, 0));
    // A tool speaks in the middle of every other sample.
    for (n, trace) in groups.iter_mut().flatten().enumerate().filter(|(n, _)| n % 2 == 0) {
        let record = trace.calls[0].tokens.as_mut().unwrap();
        record.push_given(Source::Tool, &[60 + n as u32, 61, 62]);
        record.push_sampled(70, -1.5);
        record.push_sampled(71, -2.5);
    }
    let sampled =
        |record: &TokenRecord| -> Vec<bool> { record.source.iter().map(|s| s == Source::Sampled).collect() };
    let records: Vec<TokenRecord> =
        groups.iter().flatten().map(|trace| trace.calls[0].tokens.clone().unwrap()).collect();
    let tokens: usize = records.iter().map(|r| sampled(r).iter().filter(|&&s| s).count()).sum();

    let mut twin = sharp(&recipe, 2.0);
    let policy = &mut twin.model.policy;
    policy.zero_grad();
    for group in &groups {
        let mean = group.iter().filter_map(|t| t.total).sum::<f64>() / group.len() as f64;
        for trace in group {
            let record = trace.calls[0].tokens.as_ref().unwrap();
            let advantage = trace.total.unwrap() - mean;
            let batch = Batch::of_sequences(&[&record.ids]);
            policy.logprobs(&batch).unwrap();
            let slope = |sampled: bool| if sampled { (-advantage / tokens as f64) as f32 } else { 0.0 };
            // The first token is nobody's target.
            let logp = sampled(record).into_iter().skip(1).map(slope).collect();
            policy.backward(&TokenGrads { logp, ..TokenGrads::default() }).unwrap();
        }
    }
    train(&mut learner, &recipe, &groups);
    let apart = distance(&gradient(&twin), &gradient(&learner));
    assert!(apart < 1e-5, "{apart:e}");

    // The twin can fail: one derivative at one prompt token shows.
    let batch = Batch::of_sequences(&[&records[0].ids]);
    let policy = &mut twin.model.policy;
    policy.logprobs(&batch).unwrap();
    let logp = (0..batch.targets.len()).map(|t| if t == 0 { 1.0 / tokens as f32 } else { 0.0 }).collect();
    policy.backward(&TokenGrads { logp, ..TokenGrads::default() }).unwrap();
    assert!(distance(&gradient(&twin), &gradient(&learner)) > 1e-3);
}

#[test]
fn samples_that_are_unscored_or_dropped_give_no_gradient() {
    let keep = recipe(&json!({}), &json!({}));
    let drop = recipe(&json!({}), &json!({"truncated": "drop"}));
    let groups = graded(rollouts(&sharp(&keep, 2.0), &keep, 0));
    let gradient_of = |recipe: &Recipe, groups: &Groups| {
        let mut learner = sharp(recipe, 2.0);
        let row = train(&mut learner, recipe, groups);
        (gradient(&learner), row)
    };
    let without: Groups = groups.iter().map(|group| group[1..].to_vec()).collect();
    let (expected, _) = gradient_of(&keep, &without);

    let mut unscored = groups.clone();
    unscored.iter_mut().for_each(|group| group[0].total = None);
    let (found, _) = gradient_of(&keep, &unscored);
    assert!(distance(&expected, &found) < 1e-6, "unscored");

    let mut truncated = groups.clone();
    for group in &mut truncated {
        for (s, trace) in group.iter_mut().enumerate() {
            let finish = if s == 0 { lyceum_trace::Finish::Length } else { lyceum_trace::Finish::Stop };
            trace.calls[0].finish = Some(finish);
        }
    }
    let (found, row) = gradient_of(&drop, &truncated);
    assert!(distance(&expected, &found) < 1e-6, "truncated");
    assert_eq!(row.metrics["rollout/truncated"], 0.25);
    let (kept, _) = gradient_of(&keep, &truncated);
    assert!(distance(&expected, &kept) > 1e-2, "kept unless the recipe says otherwise");
}

#[test]
fn a_round_without_a_scored_sample_changes_nothing() {
    let recipe = recipe(&json!({}), &json!({}));
    let mut learner = learner(&recipe);
    let mut groups = rollouts(&learner, &recipe, 0);
    groups.iter_mut().flatten().for_each(|trace| trace.total = None);
    let before = named(learner.model.policy.named_parameters());
    let row = train(&mut learner, &recipe, &groups);
    assert_eq!(row.metrics["rollout/groups-trained"], 0.0);
    assert_eq!(before, named(learner.model.policy.named_parameters()));
}

#[test]
fn traces_do_not_depend_on_the_decode_batch() {
    for precision in ["f32", "bf16"] {
        let traces = |decode_batch: usize| {
            let recipe = recipe(
                &json!({"precision": precision}),
                &json!({"decode_batch": decode_batch, "prompts": 9}),
            );
            rollouts(&sharp(&recipe, 2.0), &recipe, 3)
        };
        let alone = traces(1);
        for batch in [7, 16, 64] {
            for (a, b) in alone.iter().flatten().zip(traces(batch).iter().flatten()) {
                assert!(a.same_content(b), "{precision}, batch {batch}: {} {}", a.id, b.id);
            }
        }
    }
}
