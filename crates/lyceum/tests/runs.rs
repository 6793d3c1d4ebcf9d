//! What two runs of a recipe have in common, and what survives a kill or an interrupt.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::needless_pass_by_value,
    reason = "a test fails by panicking"
)]

mod desk;

use std::fs;
use std::process::Command;
use std::time::Instant;

use desk::*;
use serde_json::Value;

#[test]
fn two_runs_of_a_recipe_are_identical() {
    let desk = Desk::new();
    for (name, text) in [("sft", imitation(5)), ("rl", practice_by_python(&desk, 5))] {
        let recipe = desk.write("r.toml", &text);
        let recipe = recipe.to_str().unwrap();
        let [a, b] = ["a", "b"].map(|run| format!("{name}-{run}"));
        for run in [&a, &b] {
            desk.done(&["train", recipe, "--out", run]);
        }
        assert_same_run(&desk.path(&a), &desk.path(&b), 5);
        let losses: Vec<Value> = timeless(&desk.path(&a).join("metrics.jsonl"))
            .into_iter()
            .map(|row| row["metrics"]["optimizer/gradient-norm"].clone())
            .collect();
        assert_eq!(losses.len(), 6);
        assert!(losses[1..].iter().all(|norm| norm.as_f64().unwrap() > 0.0), "{losses:?}");
        assert!(desk.path(&a).join("report.html").is_file());
    }
}

/// Ten kills at moments spread over the run, each followed by a resumption; then to the end.
fn killed_and_resumed(text: &str, updates: u64, seed: u64) {
    let desk = Desk::new();
    let recipe = desk.write("r.toml", text);
    let recipe = recipe.to_str().unwrap();
    let begin = Instant::now();
    desk.done(&["train", recipe, "--out", "whole"]);
    let whole = begin.elapsed();
    let run = desk.path("killed");
    let mut random = seed;
    let mut killed = 0;
    let mut sittings = 0;
    while killed < 10 {
        // Some kills come before the folder is a run, most in the middle, some while a checkpoint is written.
        let arguments = if run.join("recipe.toml").is_file() {
            vec!["train", "--resume", "killed"]
        } else {
            let _ = fs::remove_dir_all(&run);
            vec!["train", recipe, "--out", "killed"]
        };
        let mut child = desk.start(&arguments);
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let share = (random >> 33) as f64 / (1u64 << 31) as f64;
        std::thread::sleep(whole.mul_f64(0.02 + 0.4 * share));
        match child.try_wait().unwrap() {
            None => {
                child.kill().unwrap();
                child.wait().unwrap();
                killed += 1;
            }
            Some(status) => {
                let output = child.wait_with_output().unwrap();
                assert!(status.success(), "{}", stderr(&output));
                // It reached its end: the same once more from the beginning.
                assert_same_run(&desk.path("whole"), &run, updates);
                fs::remove_dir_all(&run).unwrap();
            }
        }
        sittings += 1;
        assert!(sittings < 60, "only {killed} kills");
    }
    if !run.join("recipe.toml").is_file() {
        let _ = fs::remove_dir_all(&run);
        desk.done(&["train", recipe, "--out", "killed"]);
    } else {
        desk.done(&["train", "--resume", "killed"]);
    }
    assert_same_run(&desk.path("whole"), &run, updates);
}

#[test]
fn imitation_survives_kills_bit_for_bit() {
    killed_and_resumed(&imitation(24), 24, 1);
}

#[test]
fn practice_survives_kills_bit_for_bit() {
    let desk = Desk::new();
    killed_and_resumed(&practice_by_python(&desk, 18), 18, 2);
}

#[test]
fn several_turns_with_tools_survive_kills_bit_for_bit() {
    let desk = Desk::new();
    let program = "while read line; do echo '{\\\"result\\\": \\\"42\\\"}'; done";
    let world = format!(
        "name = 'tools'\n[task]\nname = 'facts'\nhidden = 50\nkinds = ['lookup']\n\
         [tools]\nlimit = 2\nobservation = '[{{result}}]'\n\
         [[tools.use]]\nname = 's'\ncommand = ['sh', '-c', \"\"\"{program}\"\"\"]\n\
         [eval]\nevery = 6\nlimit = 4\nmax_new_tokens = 30\n[run]\ncheckpoint_every = 2\n"
    );
    let model = |name: &str| format!("[model]\nname = {name:?}\nprecision = 'f32'\ncontext = 128\n");
    let learn = format!(
        "{world}{}[sft]\nsteps = 40\nbatch = 24\n[optimizer]\nlearning_rate = 4e-3\n",
        model("tiny-0.3m")
    );
    let recipe = desk.write("learn.toml", &learn);
    desk.done(&["train", recipe.to_str().unwrap(), "--out", "caller"]);
    let caller = desk.path("caller");
    let settings = "[policy]\nupdates = 12\nprompts = 3\nsamples = 4\nmax_new_tokens = 40\n\
                    [policy.curriculum]\nproblems = 7\nhistory = 'resample'\n\
                    [policy.reward]\nrule = 'product'\nweights = {format = 1.0, efficiency = 1.0}\nefficiency = {}\n";
    killed_and_resumed(&format!("{world}{}{settings}", model(caller.to_str().unwrap())), 12, 5);
    let traces = timeless(&desk.path("caller").join("traces/eval.jsonl"));
    assert!(traces.iter().any(|trace| trace["cost"]["tool_calls"].as_u64() > Some(0)), "nothing was called");
}

#[test]
fn an_interrupt_finishes_the_step_saves_and_says_how_to_go_on() {
    let desk = Desk::new();
    let recipe = desk.write("r.toml", &imitation(12));
    let recipe = recipe.to_str().unwrap();
    desk.done(&["train", recipe, "--out", "whole", "--set", "run.checkpoint_every=1000"]);
    for signal in ["INT", "TERM"] {
        let run = desk.path("run");
        let _ = fs::remove_dir_all(&run);
        // A step that takes long enough to be interrupted.
        let long = [
            "train",
            recipe,
            "--out",
            "run",
            "--set",
            "sft.steps=100000",
            "--set",
            "run.checkpoint_every=1000",
        ];
        let child = desk.start(&long);
        wait_for("three rows", || rows_in(&run) >= 3);
        let sent =
            Command::new("kill").args([&format!("-{signal}"), &child.id().to_string()]).status().unwrap();
        assert!(sent.success());
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        assert!(stderr(&output).contains("saving"), "{}", stderr(&output));
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(said.contains("lyceum train --resume run"), "{said}");
        let rows = timeless(&run.join("metrics.jsonl"));
        let last = rows.last().unwrap()["step"].as_u64().unwrap();
        assert!(run.join(format!("checkpoints/step-{last}/manifest.json")).is_file());
        // Warm-up is the same for both lengths and the rate constant after it: so are the first rows.
        let whole = timeless(&desk.path("whole/metrics.jsonl"));
        for (a, b) in rows.iter().zip(&whole).skip(1) {
            assert_eq!(a["metrics"], b["metrics"]);
        }
    }
}

#[test]
fn an_interrupted_run_ends_as_an_uninterrupted_one() {
    let desk = Desk::new();
    let recipe = desk.write("r.toml", &imitation(40));
    let recipe = recipe.to_str().unwrap();
    desk.done(&["train", recipe, "--out", "whole"]);
    let run = desk.path("run");
    let child = desk.start(&["train", recipe, "--out", "run"]);
    wait_for("two rows", || rows_in(&run) >= 2);
    // Best effort: the run may be over before the signal comes, which changes nothing below.
    let _ = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(child.wait_with_output().unwrap().status.success());
    desk.done(&["train", "--resume", "run"]);
    assert_same_run(&desk.path("whole"), &run, 40);
}

#[test]
fn a_resumed_run_computes_as_it_began_or_says_that_it_does_not() {
    let desk = Desk::new();
    let recipe = desk.write("r.toml", &imitation(6));
    desk.done(&["train", recipe.to_str().unwrap(), "--out", "whole", "--cpu-level", "portable"]);
    let kept = fs::read_to_string(desk.path("whole/recipe.toml")).unwrap();
    assert!(kept.contains("threads = \"1\"") && kept.contains("cpu-level = \"portable\""), "{kept}");
    let resumed = |run: &str, flags: &[&str]| {
        // As after a kill past the checkpoint of step 3.
        let copied = Command::new("cp").args(["-r", "whole", run]).current_dir(desk.0.path()).status();
        assert!(copied.unwrap().success());
        for step in [4, 6] {
            let _ = fs::remove_dir_all(desk.path(run).join(format!("checkpoints/step-{step}")));
        }
        let mut command = desk.command(&[&["train", "--resume", run], flags].concat());
        let output = command.env_remove("LYCEUM_THREADS").output().unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
        stderr(&output)
    };
    let said = resumed("same", &[]);
    assert!(!said.contains("bit-identical"), "{said}");
    assert_same_run(&desk.path("whole"), &desk.path("same"), 6);
    let said = resumed("other", &["--threads", "2"]);
    let told = "this run began with 1 thread at portable and goes on with 2 threads at portable: it will not be \
                bit-identical";
    assert!(said.contains(told), "{said}");
    assert_eq!(rows_in(&desk.path("other")), rows_in(&desk.path("whole")));
}
