//! Learning from scratch: the loops as recipes run them must reach a bar, not only run.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::needless_pass_by_value,
    reason = "a test fails by panicking"
)]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use lyceum_env::task;
use lyceum_hub::Silent;
use lyceum_kernels::Pool;
use lyceum_rl::learner::Learner;
use lyceum_rl::recipe::Recipe;
use lyceum_rl::rewards::rewards;
use lyceum_rl::train::{Outcome, Training};
use lyceum_run::{Interrupt, Layout, RunFolder, read_rows};
use serde_json::{Value, json};

/// Sums of two small numbers, `3 +4` to `3+4=7` and `answer 7`.
fn recipe(name: &str, model: &str, loop_: &str, settings: &Value, optimizer: &Value) -> Recipe {
    let mut recipe = json!({
        "name": name, "seed": 11,
        "model": {"name": model, "precision": "f32", "context": 64},
        "task": {"name": "chain", "steps": [1, 1], "longer": [2, 2], "operators": "+", "largest": 9},
        "eval": {"every": 0, "limit": 60, "max_new_tokens": 20},
        "run": {"checkpoint_every": 1000, "keep": 1},
    });
    recipe[loop_] = settings.clone();
    recipe["optimizer"] = optimizer.clone();
    let recipe: Recipe = serde_json::from_value(recipe).unwrap();
    recipe.validate().unwrap();
    recipe
}

fn run(recipe: &Recipe) -> (Outcome, PathBuf) {
    let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join(&recipe.name);
    let _ = std::fs::remove_dir_all(&root);
    let task = task::open(&recipe.task).unwrap();
    let pool = Arc::new(Pool::new(1));
    let learner = Learner::load(recipe, &pool, &Silent).unwrap();
    let training = Training {
        tools: None,
        memory: lyceum_rl::memory::Memory::default(),
        recipe,
        rewards: rewards(recipe, &learner.model, &pool, &Silent).unwrap(),
        learner,
        task: task.as_ref(),
        folder: RunFolder::create_at(&root, "").unwrap(),
        recorded: None,
        interrupt: Interrupt::default(),
        quiet: true,
    };
    (training.run(None).unwrap(), root)
}

fn preferring(name: &str, loss: &Value) -> Recipe {
    let optimizer = json!({"learning_rate": 1e-3, "warmup": 5});
    let settings = json!({"steps": 80, "batch": 24, "loss": loss});
    let mut recipe = recipe(&format!("preferences-{name}"), "tiny-0.3m", "pairs", &settings, &optimizer);
    recipe.task = serde_json::from_value(json!({"name": "compose"})).unwrap();
    recipe.eval.limit = 150;
    recipe
}

#[test]
fn preferences_are_learnt() {
    for (name, loss, bar) in [
        ("bradley-terry", json!({"kind": "bradley-terry"}), 0.7),
        ("dpo", json!({"kind": "dpo", "beta": 0.5}), 0.65),
    ] {
        let (outcome, _) = run(&preferring(name, &loss));
        assert_eq!(outcome.measure, "pair-accuracy");
        let (_, accuracy) = outcome.evals.last().unwrap();
        assert!(accuracy.low > 0.5 && accuracy.mean > bar, "{name}: {accuracy}");
    }
}

/// Without a reference the longer answer of a pair begins far behind: that the margin shrinks is what so few steps can show.
#[test]
fn contrast_without_a_reference_turns_the_margin() {
    let (_, root) = run(&preferring("cpo", &json!({"kind": "cpo", "beta": 0.5})));
    let rows = lyceum_run::read_rows(&lyceum_run::Layout::new(&root).metrics()).unwrap();
    let margins: Vec<f64> = rows.iter().filter_map(|row| row.metrics.get("pairs/margin").copied()).collect();
    let mean = |part: &[f64]| part.iter().sum::<f64>() / part.len() as f64;
    let (first, last) = (mean(&margins[..10]), mean(&margins[70..]));
    assert!(last > first / 2.0, "{first} to {last}");
}

fn imitation(name: &str, steps: u64) -> Recipe {
    let optimizer = json!({"learning_rate": 3e-3, "warmup": 10, "decay": "cosine"});
    recipe(name, "tiny-0.3m", "sft", &json!({"steps": steps, "batch": 32}), &optimizer)
}

/// Mean reward of the first and the last five rounds of an untrained model that is paid for being brief: of the 258
/// tokens that it says at random, one ends the answer.
fn improvement(name: &str, changes: &Value) -> (f64, f64) {
    let mut policy = json!({
        "updates": 40, "prompts": 12, "samples": 8, "max_new_tokens": 24,
        "reward": {"weights": {"length": 1.0}, "length": {"free": 1, "limit": 24}},
    });
    for (key, value) in changes.as_object().unwrap() {
        policy[key] = value.clone();
    }
    let recipe = recipe(name, "tiny-0.3m", "policy", &policy, &json!({"learning_rate": 1e-3}));
    let (_, root) = run(&recipe);
    let rows = read_rows(&Layout::new(root).metrics()).unwrap();
    let rewards: Vec<f64> = rows.iter().filter_map(|row| row.metrics.get("reward/total").copied()).collect();
    assert_eq!(rewards.len(), 40);
    let mean = |part: &[f64]| part.iter().sum::<f64>() / part.len() as f64;
    let (first, last) = (mean(&rewards[..5]), mean(&rewards[35..]));
    println!("{name}: reward {first:.3} to {last:.3}");
    (first, last)
}

#[test]
fn imitation_learns_sums_from_scratch() {
    let (outcome, root) = run(&imitation("learning-imitation", 300));
    let rows = read_rows(&Layout::new(root).metrics()).unwrap();
    let loss = |at: usize| rows[at].metrics["sft/loss"];
    let correct = outcome.evals[0].1;
    println!("loss {:.3} to {:.3}, held-out correct {correct}", loss(1), loss(rows.len() - 1));
    assert!(rows[0].evals["heldout/correct"].mean < 0.05, "untrained");
    assert!(loss(1) > 4.0 && loss(rows.len() - 1) < 0.15, "{} {}", loss(1), loss(rows.len() - 1));
    assert!(correct.mean > 0.3, "{correct}");
    assert!(rows[rows.len() - 1].evals["heldout/format"].mean > 0.9);
}

/// Reward of the last five rounds against that of the first five.
const GAIN: f64 = 0.5;

#[test]
fn grpo_raises_the_reward() {
    let (first, last) = improvement("learning-grpo", &json!({"advantage": {"kind": "grpo"}}));
    assert!(last > first + GAIN, "{first} {last}");
}

#[test]
fn rloo_raises_the_reward() {
    let (first, last) = improvement("learning-rloo", &json!({"advantage": {"kind": "rloo"}}));
    assert!(last > first + GAIN, "{first} {last}");
}

#[test]
fn ppo_with_a_critic_raises_the_reward() {
    let ppo = json!({"advantage": {"kind": "gae"}, "epochs": 2, "minibatches": 2});
    let (first, last) = improvement("learning-ppo", &ppo);
    assert!(last > first + GAIN, "{first} {last}");
}

/// A model that sums half well is judged step by step: by a model taught from spoilt sums, and by the task itself.
#[test]
fn process_rewards_are_learnt_and_teach() {
    let (start, policy) = run(&imitation("learning-process-start", 120));
    let policy = policy.to_string_lossy().into_owned();

    let labels = json!({"steps": 400, "batch": 48, "separator": "\n", "head_steps": 10});
    let optimizer = json!({"learning_rate": 1e-3, "warmup": 10});
    let mut recipe_of_judge = recipe("learning-judge", &policy, "labels", &labels, &optimizer);
    recipe_of_judge.task.options.insert("mistakes".into(), json!(0.4));
    recipe_of_judge.eval.limit = 400;
    let (_, judge) = run(&recipe_of_judge);
    let rows = read_rows(&Layout::new(&judge).metrics()).unwrap();
    let last = &rows[rows.len() - 1].evals;
    let (right, wrong) = (last["heldout/right-steps"], last["heldout/wrong-steps"]);
    println!("right steps told {right}, wrong steps told {wrong}");
    // Calling every step right, or tossing a coin, has a mean of 0.5.
    assert!((right.mean + wrong.mean) / 2.0 > 0.6, "{right} {wrong}");

    let spec = |process: Value| {
        json!({
            "updates": 40, "prompts": 16, "samples": 8, "max_new_tokens": 24,
            "reward": {"weights": {"correct": 0.0}, "process": process},
            "credit": {"rule": "min"}, "advantage": {"kind": "rloo", "baseline": "token", "whiten": true},
        })
    };
    let oracle = spec(json!({"separator": "\n"}));
    let (taught, _) =
        run(&recipe("learning-oracle", &policy, "policy", &oracle, &json!({"learning_rate": 2e-4})));
    let (before, after) = (start.evals[0].1, taught.evals[0].1);
    println!("held-out correct {before} to {after}, without a verifiable reward");
    assert!(after.mean > before.mean + 0.1, "{before} {after}");

    // The trained judge reads the policy's own tokens: a short run, and what it logs.
    let mut short = spec(json!({"model": judge, "separator": "\n"}));
    short["updates"] = json!(2);
    let (_, root) =
        run(&recipe("learning-judged", &policy, "policy", &short, &json!({"learning_rate": 1e-4})));
    let rows = read_rows(&Layout::new(root).metrics()).unwrap();
    for name in
        ["reward/process", "process/score", "process/agreement", "rollout/steps", "rollout/repetition"]
    {
        assert!(rows[1].metrics[name].is_finite(), "{name}");
    }
}
