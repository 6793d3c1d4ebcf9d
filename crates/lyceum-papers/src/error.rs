use std::path::{Path, PathBuf};

/// What can go wrong with a study.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A study or a recipe of it is wrong, or its folder can't be used.
    #[error(transparent)]
    Run(#[from] lyceum_run::Error),
    /// The operating system refused.
    #[error("cannot {doing} {}: {source}{}", path.display(), lyceum_run::hint(source))]
    Io {
        /// What was attempted, as in "cannot ... PATH".
        doing: &'static str,
        /// The file or folder in question.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// No paper and no folder of that name.
    #[error("{0}")]
    Unknown(String),
    /// A run that others start from did not end well.
    #[error("the preparation `{name}` failed: {cause}; its log is {}", log.display())]
    Preparation {
        /// The preparation.
        name: String,
        /// What its process said last.
        cause: String,
        /// All that it said.
        log: PathBuf,
    },
    /// A value has no JSON form.
    #[error("the results cannot be written as JSON: {0}")]
    Json(#[from] serde_json::Error),
}

impl Error {
    pub(crate) fn io(doing: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io { doing, path, source }
    }
}

/// A result with this crate's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;
