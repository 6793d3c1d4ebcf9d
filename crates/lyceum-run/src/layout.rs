use std::path::{Path, PathBuf};

use crate::{Checkpoint, Error, Result, durable};

/// Where things are in a run folder. Reading needs no lock, so a run can be watched while it trains.
///
/// ```text
/// runs/chain-001/
///   recipe.toml           the resolved recipe with the SHA-256 of its inputs
///   metrics.jsonl         one row a step
///   events.out.tfevents.0.lyceum
///   traces/train.jsonl, traces/eval.jsonl, ...
///   checkpoints/step-40/  manifest.json and what the trainer put there
///   checkpoints/best      link to the best one
///   journal.jsonl         what the outside world said, for replay
///   report.html
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    root: PathBuf,
}

impl Layout {
    /// The layout of a folder, which need not exist.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The layout of an existing run.
    ///
    /// # Errors
    /// [`Error::NotARun`] if the folder has no recipe in it.
    pub fn existing(root: impl Into<PathBuf>) -> Result<Self> {
        let layout = Self::new(root);
        if layout.recipe().is_file() { Ok(layout) } else { Err(Error::NotARun { path: layout.root }) }
    }

    /// The folder itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The run's name: the folder's.
    pub fn name(&self) -> String {
        self.root.file_name().map_or_else(|| "run".into(), |name| name.to_string_lossy().into_owned())
    }

    /// The resolved recipe.
    pub fn recipe(&self) -> PathBuf {
        self.root.join("recipe.toml")
    }

    /// One row of metrics a step.
    pub fn metrics(&self) -> PathBuf {
        self.root.join("metrics.jsonl")
    }

    /// TensorBoard's copy of the metrics. The fixed name lets a resumed run go on in it.
    pub fn events(&self) -> PathBuf {
        self.root.join("events.out.tfevents.0.lyceum")
    }

    /// The folder of traces.
    pub fn traces(&self) -> PathBuf {
        self.root.join("traces")
    }

    /// One file of traces, such as `train` or `eval`.
    pub fn trace_file(&self, kind: &str) -> PathBuf {
        self.traces().join(format!("{kind}.jsonl"))
    }

    /// All files of traces there are, by name.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn trace_files(&self) -> Result<Vec<PathBuf>> {
        let names = durable::names_in(&self.traces())?;
        Ok(names
            .into_iter()
            .filter(|name| name.ends_with(".jsonl"))
            .map(|name| self.traces().join(name))
            .collect())
    }

    /// What the outside world said.
    pub fn journal(&self) -> PathBuf {
        self.root.join("journal.jsonl")
    }

    /// The report.
    pub fn report(&self) -> PathBuf {
        self.root.join("report.html")
    }

    /// The folder of checkpoints.
    pub fn checkpoints(&self) -> PathBuf {
        self.root.join("checkpoints")
    }

    /// The checkpoint of one step.
    pub fn checkpoint(&self, step: u64) -> PathBuf {
        self.checkpoints().join(format!("step-{step}"))
    }

    /// Steps with a checkpoint, rising; damaged ones included.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn checkpoint_steps(&self) -> Result<Vec<u64>> {
        let names = durable::names_in(&self.checkpoints())?;
        let mut steps: Vec<u64> =
            names.iter().filter_map(|name| name.strip_prefix("step-")?.parse().ok()).collect();
        steps.sort_unstable();
        Ok(steps)
    }

    /// The newest checkpoint that is whole, with a note for each newer one that is not.
    ///
    /// # Errors
    /// [`Error::Io`] if the folder can't be listed.
    pub fn newest(&self) -> Result<(Option<Checkpoint>, Vec<String>)> {
        let mut notes = Vec::new();
        for step in self.checkpoint_steps()?.into_iter().rev() {
            match Checkpoint::open(&self.checkpoint(step)) {
                Ok(checkpoint) => return Ok((Some(checkpoint), notes)),
                Err(error) => notes.push(format!("checkpoint of step {step} skipped: {error}")),
            }
        }
        Ok((None, notes))
    }

    /// The checkpoint with the best score, as the newest whole one remembers it; the newest itself where no score
    /// was ever given.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Checkpoint`] if the best one is damaged.
    pub fn best(&self) -> Result<Option<Checkpoint>> {
        let (Some(newest), _) = self.newest()? else { return Ok(None) };
        match newest.best() {
            Some(best) if best.step != newest.step() => {
                Checkpoint::open(&self.checkpoint(best.step)).map(Some)
            }
            _ => Ok(Some(newest)),
        }
    }

    /// Files that only grow, and that a resumed run cuts back to its checkpoint: metrics, events, traces. Relative
    /// to the root.
    pub(crate) fn grown(&self) -> Result<Vec<String>> {
        let relative = |path: &PathBuf| {
            path.strip_prefix(&self.root).ok().and_then(Path::to_str).map(|name| name.replace('\\', "/"))
        };
        let files = [self.metrics(), self.events()].into_iter().filter(|path| path.is_file());
        Ok(files.chain(self.trace_files()?).filter_map(|path| relative(&path)).collect())
    }
}
