//! A training run as a process of its own.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use lyceum_run::Layout;
use serde::Deserialize;

use crate::{Error, Result, Runs};

/// The program that trains, and what it is told besides a recipe.
#[derive(Clone, Debug)]
pub struct Program {
    /// The executable; it understands `train RECIPE --set K=V --out RUN --json`, `train --resume RUN --json`, and `experiment` likewise.
    pub executable: PathBuf,
    /// Environment variables it gets.
    pub environment: Vec<(String, String)>,
}

/// How a process ended.
#[derive(Debug)]
pub(crate) enum Left {
    /// At the end of its run.
    Done { rounds: u64, seconds: f64 },
    /// Saved and stopped, as it was asked to.
    Stopped,
    /// With a fault.
    Failed(String),
}

/// What `train --json` prints.
#[derive(Deserialize)]
struct Said {
    rounds: u64,
    interrupted: bool,
}

/// Bytes of a log that are looked at for its last words.
const TAIL: usize = 4096;

impl Program {
    /// Trains in `folder`, or goes on there if there is a checkpoint; a run cut off before its first begins anew. What
    /// it says goes to a log beside the folder.
    pub(crate) fn run(
        &self,
        runs: Runs,
        recipe: &Path,
        sets: &[String],
        folder: &Path,
        threads: Option<usize>,
    ) -> Result<Left> {
        let begin = Instant::now();
        let mut command = Command::new(&self.executable);
        command.args([runs.command(), "--json"]);
        if resumable(folder) {
            command.arg("--resume").arg(folder);
        } else {
            if folder.exists() {
                std::fs::remove_dir_all(folder).map_err(Error::io("remove", folder))?;
            }
            command.arg(recipe).arg("--out").arg(folder);
            command.args(sets.iter().flat_map(|set| ["--set", set]));
        }
        if let Some(threads) = threads {
            command.arg("--threads").arg(threads.to_string());
        }
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        let log = log_of(folder);
        if let Some(parent) = log.parent() {
            std::fs::create_dir_all(parent).map_err(Error::io("make the folder", parent))?;
        }
        let file = File::create(&log).map_err(Error::io("write", &log))?;
        // In the same process group: a Ctrl-C at the terminal reaches it too, and it saves by itself.
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(file);
        let output = command.output().map_err(Error::io("start", &self.executable))?;
        if !output.status.success() {
            return Ok(Left::Failed(last_words(&log, &output.status.to_string())));
        }
        Ok(match serde_json::from_slice::<Said>(&output.stdout) {
            Ok(Said { interrupted: true, .. }) => Left::Stopped,
            Ok(Said { rounds, .. }) => Left::Done { rounds, seconds: begin.elapsed().as_secs_f64() },
            Err(error) => Left::Failed(format!("its answer is not understood: {error}")),
        })
    }
}

fn resumable(folder: &Path) -> bool {
    let steps = Layout::existing(folder).and_then(|layout| layout.checkpoint_steps());
    steps.is_ok_and(|steps| !steps.is_empty())
}

/// Where a run's process says what it has to say.
pub(crate) fn log_of(folder: &Path) -> PathBuf {
    folder.with_extension("log")
}

/// The last line of a log, or what is known without it.
fn last_words(log: &Path, otherwise: &str) -> String {
    let mut text = Vec::new();
    // A log that can't be read says nothing; how the process ended is still known.
    let _ = File::open(log).and_then(|mut file| file.read_to_end(&mut text));
    let text = String::from_utf8_lossy(&text[text.len().saturating_sub(TAIL)..]).into_owned();
    match text.lines().rev().find(|line| !line.trim().is_empty()) {
        Some(line) => format!("{otherwise}: {}", line.trim().trim_start_matches("error: ")),
        None => otherwise.to_owned(),
    }
}
