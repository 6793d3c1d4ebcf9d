//! What can go wrong with a task or its data, told with the place and the remedy.

use std::path::{Path, PathBuf};

/// Errors of tasks, data sets and reward settings. A bad completion is never an error: it is a score.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A data file is missing or can't be read.
    #[error("can't read {path}: {source}; {remedy}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
        /// What to try.
        remedy: String,
    },
    /// A row of a data file is not what the task expects.
    #[error("{path}:{line}: {message}; {remedy}")]
    Row {
        /// The file.
        path: PathBuf,
        /// Its line, counted from 1.
        line: usize,
        /// What is wrong with it.
        message: String,
        /// What to try.
        remedy: String,
    },
    /// A data set as a whole can't be used.
    #[error("{path}: {message}")]
    Data {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong and what to try.
        message: String,
    },
    /// An option of a task or a reward has a value that can't be used.
    #[error("{owner}: option `{option}` {message}")]
    Option {
        /// The task or reward.
        owner: String,
        /// The option's key.
        option: String,
        /// What is wrong and what would be accepted.
        message: String,
    },
    /// What a tool answered can't be kept for a resumed run.
    #[error("the tools' answers can't be kept: {0}")]
    Journal(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// No task of that name.
    #[error("no task is called `{name}`{}; known tasks: {known}", nearest_hint(.nearest))]
    UnknownTask {
        /// The name asked for.
        name: String,
        /// The known name that is nearest to it, if one is near.
        nearest: Option<String>,
        /// All known names.
        known: String,
    },
    /// The task does not have this split.
    #[error("task {task} has no split `{split}`; it has {known}")]
    NoSplit {
        /// The task.
        task: String,
        /// The split asked for.
        split: String,
        /// The splits it has.
        known: String,
    },
    /// A problem number beyond the end of the split.
    #[error("task {task}, split {split}: no problem {index}, it has {len}")]
    NoProblem {
        /// The task.
        task: String,
        /// The split.
        split: String,
        /// The number asked for, counted from 0.
        index: u64,
        /// How many problems there are.
        len: u64,
    },
    /// A data set that can't be found.
    #[error(transparent)]
    Hub(#[from] lyceum_hub::Error),
    /// The model that answers, in a way that concerns all problems.
    #[error(transparent)]
    Engine(#[from] lyceum_engine::Error),
}

fn nearest_hint(nearest: &Option<String>) -> String {
    nearest.as_ref().map_or_else(String::new, |name| format!(" (did you mean `{name}`?)"))
}

impl Error {
    pub(crate) fn option(owner: &str, option: &str, message: impl Into<String>) -> Self {
        Self::Option { owner: owner.to_owned(), option: option.to_owned(), message: message.into() }
    }

    pub(crate) fn row(
        path: &Path,
        line: usize,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self::Row { path: path.to_owned(), line, message: message.into(), remedy: remedy.into() }
    }
}

/// Results of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;
