//! The program from outside: what it refuses, what survives a kill, what two runs have in common.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::needless_pass_by_value,
    reason = "a test fails by panicking"
)]

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// A place for a test's files.
struct Desk(TempDir);

impl Desk {
    /// In memory where there is such a place: runs wait for the disk at every checkpoint.
    fn new() -> Self {
        let memory = PathBuf::from("/dev/shm");
        let place = if memory.is_dir() { memory } else { std::env::temp_dir() };
        Self(tempfile::tempdir_in(place).unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        fs::write(self.path(name), text).unwrap();
        self.path(name)
    }

    fn command<S: AsRef<std::ffi::OsStr>>(&self, arguments: &[S]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lyceum"));
        command.current_dir(self.0.path()).args(arguments);
        command.env("LYCEUM_THREADS", "1").env_remove("RUST_LOG").stdin(Stdio::null());
        command
    }

    fn run<S: AsRef<std::ffi::OsStr>>(&self, arguments: &[S]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Runs a command that must succeed; its standard output.
    fn done(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", stderr(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs a command that must fail with `code`; what it says to the person.
    fn refused(&self, code: i32, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", stderr(&output));
        stderr(&output)
    }

    fn start(&self, arguments: &[&str]) -> Child {
        self.command(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

const HEAD: &str = r#"
name = "small"
seed = 3
[model]
name = "tiny-0.3m"
precision = "f32"
context = 64
[task]
name = "chain"
steps = [1, 1]
longer = [2, 2]
operators = "+"
largest = 9
[eval]
every = 4
limit = 5
max_new_tokens = 6
[run]
checkpoint_every = 3
"#;

/// A reward for any text whatever, so that an untrained model's samples differ in it.
const REWARD: &str = r#"
import json, sys
for line in sys.stdin:
    text = json.loads(line)["completion"]
    print(json.dumps({"reward": sum(text.encode()) % 7 / 7}), flush=True)
"#;

fn imitation(steps: u64) -> String {
    format!("{HEAD}[optimizer]\nlearning_rate = 1e-3\nwarmup = 4\n[sft]\nsteps = {steps}\nbatch = 4\n")
}

/// Reinforcement by a command's reward, given as a TOML list.
fn practice(updates: u64, command: &str) -> String {
    format!(
        "{HEAD}[optimizer]\nlearning_rate = 1e-3\ndecay = \"cosine\"\n[policy]\nupdates = {updates}\nprompts = 2\n\
         samples = 4\nmax_new_tokens = 8\n[policy.reward]\ncommand = {command}\n"
    )
}

fn practice_by_python(desk: &Desk, updates: u64) -> String {
    let program = desk.write("reward.py", REWARD);
    practice(updates, &format!("[\"python3\", {:?}]", program.to_str().unwrap()))
}

/// The lines of a JSONL file without the clock's fields.
fn timeless(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert!(text.is_empty() || text.ends_with('\n'), "{} has a torn line", path.display());
    let parse = |line: &str| {
        let mut value: Value = serde_json::from_str(line).unwrap();
        value.as_object_mut().unwrap().remove("wall");
        value
    };
    text.lines().map(parse).collect()
}

fn assert_same_lines(a: &Path, b: &Path) {
    let (a_lines, b_lines) = (timeless(a), timeless(b));
    for (number, (x, y)) in a_lines.iter().zip(&b_lines).enumerate() {
        assert_eq!(x, y, "line {} of {} and {}", number + 1, a.display(), b.display());
    }
    assert_eq!(a_lines.len(), b_lines.len(), "{} and {}", a.display(), b.display());
    assert!(!a_lines.is_empty() || a.ends_with("traces/train.jsonl"), "{}", a.display());
}

/// Two run folders hold the same numbers, traces and weights.
fn assert_same_run(a: &Path, b: &Path, last: u64) {
    for name in ["metrics.jsonl", "traces/train.jsonl", "traces/eval.jsonl"] {
        assert_same_lines(&a.join(name), &b.join(name));
    }
    for name in ["model/model.safetensors", "optimizer.safetensors"] {
        let weights = |run: &Path| fs::read(run.join(format!("checkpoints/step-{last}")).join(name)).unwrap();
        assert!(weights(a) == weights(b), "{name} of step {last} differs");
    }
}

fn wait_for(what: &str, mut holds: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !holds() {
        assert!(begin.elapsed() < Duration::from_secs(60), "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn rows_in(run: &Path) -> usize {
    fs::read_to_string(run.join("metrics.jsonl")).map_or(0, |text| text.lines().count())
}

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
    ] {
        let said = desk.refused(2, arguments);
        assert!(said.contains("--help") || said.contains("Usage"), "{said}");
    }
    let said = desk.refused(1, &["generate", "--model", "tiny-0.3m", "--top-p", "7", "hi"]);
    assert!(said.contains("top_p"), "{said}");
}

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

/// The program as somebody who may not write everywhere.
fn as_ordinary_user(desk: &Desk, arguments: &[&str]) -> Option<Output> {
    if !Command::new("id").arg("-u").output().is_ok_and(|id| id.stdout == b"0\n") {
        return Some(desk.run(arguments));
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups", env!("CARGO_BIN_EXE_lyceum")]);
    command.current_dir(desk.0.path()).args(arguments).env("LYCEUM_THREADS", "1").env("HOME", "/nonexistent");
    // Not every system lets an ordinary user reach the program.
    command.output().ok().filter(|output| !matches!(output.status.code(), Some(126 | 127)))
}

#[test]
fn a_run_folder_that_cant_be_written_is_refused_in_words() {
    use std::os::unix::fs::PermissionsExt;
    let desk = Desk::new();
    let recipe = desk.write("r.toml", &imitation(2));
    let recipe = recipe.to_str().unwrap();
    let said = desk.refused(1, &["train", recipe, "--out", "/proc/lyceum-run"]);
    assert!(said.contains("/proc/lyceum-run"), "{said}");
    let said = desk.refused(1, &["train", recipe, "--out", &format!("{recipe}/run")]);
    assert!(said.contains("r.toml/run"), "{said}");

    desk.done(&["train", recipe, "--out", "run"]);
    let said = desk.refused(1, &["train", recipe, "--out", "run"]);
    assert!(said.contains("not empty"), "{said}");
    let open = |mode| fs::set_permissions(desk.0.path(), fs::Permissions::from_mode(mode)).unwrap();
    open(0o755);
    for command in [&["train", "--resume", "run"] as &[&str], &["train", "r.toml", "--out", "other"]] {
        if let Some(output) = as_ordinary_user(&desk, command) {
            assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
            assert!(stderr(&output).contains(command[command.len() - 1]), "{}", stderr(&output));
        }
    }
    open(0o700);
}

#[test]
fn a_reward_command_that_misbehaves_costs_its_scores_and_nothing_else() {
    let garbage = r#"["sh", "-c", "while read -r line; do echo nonsense; done"]"#;
    let dying = r#"["sh", "-c", "read -r line; exit 3"]"#;
    let hanging = "[\"sleep\", \"600\"]\ndeadline = 0.05\nstartup = 0.05";
    let absent = r#"["no-such-program-anywhere"]"#;
    let talking =
        r#"["sh", "-c", "while read -r line; do echo '{\"reward\": 1}'; echo '{\"reward\": 1}'; done"]"#;
    for command in [garbage, dying, hanging, absent, talking] {
        let desk = Desk::new();
        let recipe = desk.write("r.toml", &practice(2, command));
        desk.done(&["train", recipe.to_str().unwrap(), "--out", "run"]);
        let rows = timeless(&desk.path("run/metrics.jsonl"));
        assert_eq!(rows.len(), 3);
        for row in &rows[1..] {
            let metrics = &row["metrics"];
            assert_eq!(metrics["unscored/reward"], 8.0, "{command}: {row}");
            assert_eq!(metrics["rollout/groups-trained"], 0.0, "{command}: {row}");
            assert!(metrics["reward/total"].is_null(), "{command}: {row}");
            assert!(metrics["reward/reward"].is_null(), "{command}: {row}");
            assert_eq!(metrics["rollout/mixed-groups"], 0.0, "{command}: {row}");
        }
        let traces = fs::read_to_string(desk.path("run/traces/train.jsonl")).unwrap();
        assert!(traces.contains("the reward command"), "{command}: {traces:.600}");
    }
}

#[test]
fn a_reward_command_that_misbehaves_now_and_then_is_used_where_it_answers() {
    let desk = Desk::new();
    let script = r#"["sh", "-c", "n=0; while read -r line; do n=$((n+1)); if [ $((n%4)) = 0 ]; then echo oops; else echo \"{\\\"reward\\\": $((n%2))}\"; fi; done"]"#;
    let recipe = desk.write("r.toml", &practice(2, script));
    desk.done(&["train", recipe.to_str().unwrap(), "--out", "run"]);
    for row in &timeless(&desk.path("run/metrics.jsonl"))[1..] {
        assert_eq!(row["metrics"]["unscored/reward"], 2.0, "{row}");
        assert!((row["metrics"]["reward/total"].as_f64().unwrap() - 2.0 / 3.0).abs() < 1e-9, "{row}");
        assert_eq!(row["metrics"]["rollout/groups-trained"], 2.0, "{row}");
    }
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

    let torn = desk.write("torn.jsonl", "{\"not\": \"a trace\"}\n");
    let said = desk.refused(1, &["train", recipe, "--out", "x", "--from-traces", torn.to_str().unwrap()]);
    assert!(said.contains("torn.jsonl") && said.contains('1'), "{said}");
    desk.write("empty.jsonl", "");
    let said = desk.refused(1, &["train", recipe, "--out", "y", "--from-traces", "empty.jsonl"]);
    assert!(said.contains("holds no trace"), "{said}");
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
