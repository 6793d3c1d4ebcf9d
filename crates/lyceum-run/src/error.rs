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
    /// A value has no TOML form.
    #[error("the recipe cannot be written as TOML: {0}")]
    Unserializable(#[from] toml::ser::Error),
}

/// What to try about an error of the operating system.
fn hint(error: &io::Error) -> &'static str {
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

/// A result with this crate's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;
