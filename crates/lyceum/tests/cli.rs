//! The program from outside: what it refuses, and how its commands hang together.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::needless_pass_by_value,
    reason = "a test fails by panicking"
)]

mod desk;

use std::fs;
use std::io::Write;

use desk::*;
use serde_json::Value;

#[test]
fn an_unknown_key_names_the_nearest_one() {
    let desk = Desk::new();
    let recipe = desk.write("r.toml", &imitation(2).replace("batch = 4", "bach = 4"));
    let said = desk.refused(1, &["train", recipe.to_str().unwrap(), "--out", "run"]);
    assert!(said.contains("bach") && said.contains("batch") && said.contains("r.toml"), "{said}");
    let recipe = desk.write("r.toml", &imitation(2));
    let said = desk.refused(
        1,
        &["train", recipe.to_str().unwrap(), "--out", "run", "--set", "optimizer.lerning_rate=1"],
    );
    assert!(said.contains("learning_rate"), "{said}");
    let recipe = desk.write("r.toml", &imitation(2).replace("operators", "operator"));
    let said = desk.refused(1, &["train", recipe.to_str().unwrap(), "--out", "run"]);
    assert!(said.contains("operator"), "{said}");
}

#[test]
fn missing_things_are_named() {
    let desk = Desk::new();
    let said = desk.refused(1, &["train", "absent.toml"]);
    assert!(said.contains("absent.toml"), "{said}");
    let own = imitation(2).replace("name = \"chain\"", "name = \"jsonl\"\ndata = \"rows-of-nobody.jsonl\"");
    let own: String = own
        .lines()
        .filter(|line| {
            !["steps = [", "longer", "operators", "largest"].iter().any(|key| line.starts_with(key))
        })
        .map(|line| format!("{line}\n"))
        .collect();
    let recipe = desk.write("own.toml", &own);
    let said = desk.refused(1, &["train", recipe.to_str().unwrap(), "--out", "run"]);
    assert!(said.contains("rows-of-nobody.jsonl"), "{said}");
    let said = desk.refused(1, &["eval", "chian", "--model", "tiny-0.3m"]);
    assert!(said.contains("chian") && said.contains("chain"), "{said}");
    let said = desk.refused(1, &["generate", "--model", "./no-such-folder", "hi"]);
    assert!(said.contains("no-such-folder"), "{said}");
    let said = desk.refused(1, &["train", "--resume", "no-such-run"]);
    assert!(said.contains("no-such-run"), "{said}");
    let said = desk.refused(1, &["generate", "--model", "tiny-0.3m", "--prompts", "no-prompts.jsonl"]);
    assert!(said.contains("no-prompts.jsonl"), "{said}");
}

#[test]
fn usage_errors_exit_with_2() {
    let desk = Desk::new();
    for arguments in [
        &["frobnicate"] as &[&str],
        &["train"],
        &["train", "--resume", "run", "--out", "elsewhere"],
        &["generate", "--temperature", "hot", "hi"],
        &["generate", "--model", "tiny-0.3m"],
        &["eval", "--samples", "-1", "chain"],
        &["generate", "--model", "tiny-0.3m", "--max-new-tokens", "0", "hi"],
    ] {
        let said = desk.refused(2, arguments);
        assert!(said.contains("--help") || said.contains("Usage"), "{said}");
    }
    let said = desk.refused(1, &["generate", "--model", "tiny-0.3m", "--top-p", "7", "hi"]);
    assert!(said.contains("top_p"), "{said}");
}

#[test]
fn rollouts_are_those_of_the_run_and_can_be_trained_on() {
    let desk = Desk::new();
    let recipe = desk.write("r.toml", &practice_by_python(&desk, 3));
    let recipe = recipe.to_str().unwrap();
    desk.done(&["rollout", recipe, "--out", "a.jsonl", "--steps", "2"]);
    let said = desk.done(&["rollout", recipe, "--out", "b.jsonl", "--steps", "2", "--json"]);
    let said: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(said["traces"], 16);
    assert_same_lines(&desk.path("a.jsonl"), &desk.path("b.jsonl"));
    desk.done(&["train", recipe, "--out", "online"]);
    let online = timeless(&desk.path("online/traces/train.jsonl"));
    assert_eq!(timeless(&desk.path("a.jsonl"))[..8], online[..8], "the first round is the rollout's");

    for run in ["one", "two"] {
        desk.done(&["train", recipe, "--out", run, "--from-traces", "a.jsonl"]);
    }
    assert_same_run(&desk.path("one"), &desk.path("two"), 3);
    let first = |run: &str| timeless(&desk.path(run).join("metrics.jsonl"))[1].clone();
    assert_eq!(first("one")["metrics"], first("online")["metrics"], "the same rollouts teach the same");

    let kept = fs::read_to_string(desk.path("one/recipe.toml")).unwrap();
    assert!(
        kept.contains("from_traces") && kept.contains("a.jsonl"),
        "a resumed run would roll out anew: {kept}"
    );

    let torn = desk.write("torn.jsonl", "{\"not\": \"a trace\"}\n");
    let said = desk.refused(1, &["train", recipe, "--out", "x", "--from-traces", torn.to_str().unwrap()]);
    assert!(said.contains("torn.jsonl") && said.contains('1'), "{said}");
    desk.write("empty.jsonl", "");
    let said = desk.refused(1, &["train", recipe, "--out", "y", "--from-traces", "empty.jsonl"]);
    assert!(said.contains("holds no trace"), "{said}");
}

#[test]
fn a_path_with_quotes_is_a_path_like_any_other() {
    let desk = Desk::new();
    let recipe = desk.write("r.toml", &practice_by_python(&desk, 2));
    let recipe = recipe.to_str().unwrap();
    let traces = "it's \"a\" \\ path.jsonl";
    desk.done(&["rollout", recipe, "--out", traces]);
    desk.done(&["train", recipe, "--out", "run", "--from-traces", traces]);
    desk.done(&["train", "--resume", "run"]);
    let recipe = desk.write("sft.toml", &imitation(2));
    let said = desk.refused(1, &["train", recipe.to_str().unwrap(), "--from-traces", traces]);
    assert!(said.contains("[policy]"), "{said}");
}

#[test]
fn no_new_tokens_are_refused() {
    let desk = Desk::new();
    let recipe = desk.write("r.toml", &practice_by_python(&desk, 2));
    for key in ["policy.max_new_tokens", "eval.max_new_tokens"] {
        let said = desk.refused(1, &["train", recipe.to_str().unwrap(), "--set", &format!("{key}=0")]);
        assert!(said.contains(&format!("{key} must be at least 1")), "{said}");
    }
}

#[test]
fn a_dry_run_counts_evaluations_and_checkpoints_and_leaves_nothing() {
    let desk = Desk::new();
    let recipe = desk.write("r.toml", &imitation(10));
    let said = desk.done(&["train", recipe.to_str().unwrap(), "--dry-run", "--json"]);
    let said: Value = serde_json::from_str(&said).unwrap();
    // Evaluated before, after 4, 8 and 10; saved there and after 3, 6 and 9.
    assert_eq!((&said["evaluations"], &said["checkpoints"]), (&4.into(), &7.into()), "{said}");
    let seconds = |key: &str| said[key].as_f64().unwrap();
    let parts = 9.0 * seconds("seconds_per_round")
        + 4.0 * seconds("seconds_per_evaluation")
        + 7.0 * seconds("seconds_per_checkpoint");
    assert!(seconds("seconds_per_evaluation") > 0.0 && seconds("seconds_per_checkpoint") > 0.0, "{said}");
    assert!(seconds("seconds") > parts, "{said}");
    assert_eq!(fs::read_dir(desk.0.path()).unwrap().count(), 1, "only the recipe is there");
}

#[test]
fn a_run_is_a_model_for_the_other_commands() {
    let desk = Desk::new();
    let recipe = desk.write("r.toml", &imitation(3));
    desk.done(&["train", recipe.to_str().unwrap(), "--out", "run"]);

    let generate =
        ["generate", "--model", "run", "--precision", "f32", "--max-new-tokens", "5", "--temperature", "1"];
    let one = desk.done(&[&generate as &[&str], &["--json", "-n", "3", "3 +4\n"]].concat());
    let answers: Value = serde_json::from_str(&one).unwrap();
    assert_eq!(answers[0]["prompt"], "3 +4\n");
    let completions = answers[0]["completions"].as_array().unwrap();
    assert_eq!(completions.len(), 3);
    for completion in completions {
        assert_eq!(completion["ids"].as_array().unwrap().len(), completion["logp"].as_array().unwrap().len());
        assert!(["stop", "length"].contains(&completion["finish"].as_str().unwrap()));
    }
    assert_eq!(
        one,
        desk.done(&[&generate as &[&str], &["--json", "-n", "3", "--batch", "1", "3 +4\n"]].concat())
    );
    let mut prompts = fs::File::create(desk.path("prompts.jsonl")).unwrap();
    writeln!(prompts, "{{\"prompt\": \"3 +4\\n\", \"tag\": 7}}\n{{\"messages\": [{{\"role\": \"user\", \"content\": \"1 +1\\n\"}}]}}").unwrap();
    desk.done(
        &[&generate as &[&str], &["--prompts", "prompts.jsonl", "--out", "answers.jsonl", "-n", "3"]]
            .concat(),
    );
    let lines = timeless(&desk.path("answers.jsonl"));
    assert_eq!((lines.len(), &lines[0]["tag"]), (2, &Value::from(7)));
    assert_eq!(lines[0]["completions"], answers[0]["completions"]);

    let eval = [
        "eval",
        "chain",
        "--precision",
        "f32",
        "--set",
        "steps=[1,1]",
        "--limit",
        "12",
        "--max-new-tokens",
        "6",
    ];
    desk.done(&[&eval as &[&str], &["--model", "run", "--out", "a.json"]].concat());
    desk.done(&[&eval as &[&str], &["--model", "tiny-0.3m", "--out", "b.json"]].concat());
    let report: Value = serde_json::from_str(&fs::read_to_string(desk.path("a.json")).unwrap()).unwrap();
    assert_eq!(report["items"].as_array().unwrap().len(), 12);
    assert_eq!(report["components"]["correct"]["n"], 12);
    let difference: Value =
        serde_json::from_str(&desk.done(&["eval", "diff", "a.json", "a.json", "--json"])).unwrap();
    let correct = difference.as_array().unwrap().iter().find(|row| row["component"] == "correct").unwrap();
    assert_eq!(
        (&correct["b_minus_a"]["mean"], &correct["mcnemar_p"]),
        (&Value::from(0.0), &Value::from(1.0))
    );
    let said = desk.done(&["eval", "diff", "a.json", "b.json"]);
    assert!(said.contains("correct") && said.contains("McNemar"), "{said}");
    desk.done(&[&eval as &[&str], &["--model", "run", "--split", "train", "--out", "c.json"]].concat());
    let said = desk.refused(1, &["eval", "diff", "a.json", "c.json"]);
    assert!(said.contains("different"), "{said}");
    let said = desk.refused(1, &["eval", "diff", "a.json", "prompts.jsonl"]);
    assert!(said.contains("prompts.jsonl"), "{said}");
}

#[test]
fn a_prompt_beyond_the_context_is_refused_in_words() {
    let desk = Desk::new();
    let said = desk.refused(1, &["generate", "--model", "tiny-0.3m", &"word ".repeat(500)]);
    assert!(said.contains("context"), "{said}");
}
