use std::io;
use std::path::{Path, PathBuf};

/// What can go wrong around a run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system refused.
    #[error("cannot {doing} {}: {source}{}", path.display(), hint(source))]
    Io {
        /// What was attempted, as in "cannot ... PATH".
        doing: &'static str,
        /// The file or folder in question.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A recipe is wrong.
    #[error("{origin}: {message}")]
    Recipe {
        /// File and line, or the `--set` argument.
        origin: String,
        /// What is wrong and what to try.
        message: String,
    },
    /// The folder is not a run's.
    #[error("{} is no run folder: there is no recipe.toml in it", path.display())]
    NotARun {
        /// The folder.
        path: PathBuf,
    },
    /// Another process is at work in the run folder.
    #[error("{} is in use by {holder}; wait for it or stop it, then try again", path.display())]
    Locked {
        /// The run folder.
        path: PathBuf,
        /// What the lock says about its holder.
        holder: String,
    },
    /// A checkpoint can't be written or used.
    #[error("checkpoint {}: {message}", path.display())]
    Checkpoint {
        /// The checkpoint's folder.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
    },
    /// A line of a file of the run is bad.
    #[error("{}:{line}: {message}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Line from 1.
        line: u64,
        /// What is wrong with it.
        message: String,
    },
    /// A reply on record is not what its asker takes.
    #[error("{}: the reply to `{key}` at step {step} is of another shape: {message}", path.display())]
    Reply {
        /// The journal.
        path: PathBuf,
        /// The step of the question.
        step: u64,
        /// The question.
        key: String,
        /// What is wrong with the reply.
        message: String,
    },
    /// Signals can't be listened to.
    #[error("cannot listen for Ctrl-C: {0}")]
    Signal(String),
    /// A trace is wrong, or a file of JSON lines can't be read.
    #[error(transparent)]
    Trace(lyceum_trace::Error),
    /// A value has no TOML form.
    #[error("the recipe cannot be written as TOML: {0}")]
    Unserializable(#[from] toml::ser::Error),
}

/// What to try about an error of the operating system: a clause to put after it, or nothing.
#[must_use]
pub fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "; free some space and resume: what was saved before is whole"
        }
        io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied => {
            "; choose a folder that can be written"
        }
        io::ErrorKind::NotFound => "; is the name right?",
        _ => "",
    }
}

impl Error {
    pub(crate) fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io { doing, path, source }
    }
}

impl From<lyceum_trace::Error> for Error {
    fn from(error: lyceum_trace::Error) -> Self {
        match error {
            lyceum_trace::Error::Io { path, source } => Self::Io { doing: "read or write", path, source },
            other => Self::Trace(other),
        }
    }
}

/// A result with this crate's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;
