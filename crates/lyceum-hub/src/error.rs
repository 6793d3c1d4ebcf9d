//! The crate's one error type.

use std::path::PathBuf;

/// Why a model or data set could not be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Neither a registered name nor something on disk.
    #[error(
        "no model is called {name:?}; give a folder, a .gguf file, hf:owner/name, or one of: {}",
        known.join(", ")
    )]
    UnknownModel {
        /// What was asked for.
        name: String,
        /// Registered names.
        known: Vec<&'static str>,
    },
    /// Not a registered data set.
    #[error("no data set is called {name:?}; there are: {}", known.join(", "))]
    UnknownData {
        /// What was asked for.
        name: String,
        /// Registered names.
        known: Vec<String>,
    },
    /// A registered data set that is not on this machine.
    #[error("data set {name:?} is not here ({} is missing); run `lyceum data pull {name}`, or set LYCEUM_DATA to a folder that holds it", missing.display())]
    DataNotHere {
        /// The data set.
        name: String,
        /// The first file that was looked for in vain.
        missing: PathBuf,
    },
    /// A `hf:` name that is not `hf:owner/name`.
    #[error("{0:?} is not a model of Hugging Face; write hf:owner/name, as in hf:Qwen/Qwen2.5-0.5B-Instruct")]
    HuggingFaceName(String),
    /// The operating system refused to read or write.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was being done, as a verb.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The operating system's reason.
        source: std::io::Error,
    },
    /// Something could not be fetched over HTTP.
    #[error("cannot fetch {url}: {cause}; {advice}")]
    Http {
        /// The address.
        url: String,
        /// What happened.
        cause: String,
        /// What to try.
        advice: String,
    },
    /// pip could not fetch a wheel.
    #[error("`{command}` failed: {cause}")]
    Pip {
        /// The command that was run.
        command: String,
        /// pip's last words, or why it could not be started, and what to try.
        cause: String,
    },
    /// Something fetched or cached is not what the registry says it is.
    #[error("{}: {problem}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong and what to try.
        problem: String,
    },
    /// The environment does not say where the user's files are.
    #[error("cannot tell where to keep models: set LYCEUM_CACHE to a folder")]
    NoCache,
}

impl Error {
    /// An [`Error::Io`] maker for `map_err`.
    pub(crate) fn io(action: &'static str, path: &std::path::Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }
}

/// `Result` with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;
