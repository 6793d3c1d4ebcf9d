//! What the tests of the program share: a place for files, the program, small recipes.

#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking, and each uses a part"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// A place for a test's files.
pub struct Desk(pub TempDir);

impl Desk {
    /// In memory where there is such a place: runs wait for the disk at every checkpoint.
    pub fn new() -> Self {
        let memory = PathBuf::from("/dev/shm");
        let place = if memory.is_dir() { memory } else { std::env::temp_dir() };
        Self(tempfile::tempdir_in(place).unwrap())
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        fs::write(self.path(name), text).unwrap();
        self.path(name)
    }

    pub fn command<S: AsRef<std::ffi::OsStr>>(&self, arguments: &[S]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lyceum"));
        command.current_dir(self.0.path()).args(arguments);
        command.env("LYCEUM_THREADS", "1").env_remove("RUST_LOG").stdin(Stdio::null());
        command
    }

    pub fn run<S: AsRef<std::ffi::OsStr>>(&self, arguments: &[S]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Runs a command that must succeed; its standard output.
    pub fn done(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", stderr(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs a command that must fail with `code`; what it says to the person.
    pub fn refused(&self, code: i32, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", stderr(&output));
        stderr(&output)
    }

    pub fn start(&self, arguments: &[&str]) -> Child {
        self.command(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

pub const HEAD: &str = r#"
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
pub const REWARD: &str = r#"
import json, sys
for line in sys.stdin:
    text = json.loads(line)["completion"]
    print(json.dumps({"reward": sum(text.encode()) % 7 / 7}), flush=True)
"#;

pub fn imitation(steps: u64) -> String {
    format!("{HEAD}[optimizer]\nlearning_rate = 1e-3\nwarmup = 4\n[sft]\nsteps = {steps}\nbatch = 4\n")
}

/// Reinforcement by a command's reward, given as a TOML list.
pub fn practice(updates: u64, command: &str) -> String {
    format!(
        "{HEAD}[optimizer]\nlearning_rate = 1e-3\ndecay = \"cosine\"\n[policy]\nupdates = {updates}\nprompts = 2\n\
         samples = 4\nmax_new_tokens = 8\n[policy.reward]\ncommand = {command}\n"
    )
}

pub fn practice_by_python(desk: &Desk, updates: u64) -> String {
    let program = desk.write("reward.py", REWARD);
    practice(updates, &format!("[\"python3\", {:?}]", program.to_str().unwrap()))
}

/// The lines of a JSONL file without the clock's fields.
pub fn timeless(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert!(text.is_empty() || text.ends_with('\n'), "{} has a torn line", path.display());
    let parse = |line: &str| {
        let mut value: Value = serde_json::from_str(line).unwrap();
        value.as_object_mut().unwrap().remove("wall");
        value
    };
    text.lines().map(parse).collect()
}

pub fn assert_same_lines(a: &Path, b: &Path) {
    let (a_lines, b_lines) = (timeless(a), timeless(b));
    for (number, (x, y)) in a_lines.iter().zip(&b_lines).enumerate() {
        assert_eq!(x, y, "line {} of {} and {}", number + 1, a.display(), b.display());
    }
    assert_eq!(a_lines.len(), b_lines.len(), "{} and {}", a.display(), b.display());
    assert!(!a_lines.is_empty() || a.ends_with("traces/train.jsonl"), "{}", a.display());
}

/// Two run folders hold the same numbers, traces and weights.
pub fn assert_same_run(a: &Path, b: &Path, last: u64) {
    for name in ["metrics.jsonl", "traces/train.jsonl", "traces/eval.jsonl"] {
        assert_same_lines(&a.join(name), &b.join(name));
    }
    for name in ["model/model.safetensors", "optimizer.safetensors"] {
        let weights = |run: &Path| fs::read(run.join(format!("checkpoints/step-{last}")).join(name)).unwrap();
        assert!(weights(a) == weights(b), "{name} of step {last} differs");
    }
}

pub fn wait_for(what: &str, mut holds: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !holds() {
        assert!(begin.elapsed() < Duration::from_secs(60), "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

pub fn rows_in(run: &Path) -> usize {
    fs::read_to_string(run.join("metrics.jsonl")).map_or(0, |text| text.lines().count())
}
