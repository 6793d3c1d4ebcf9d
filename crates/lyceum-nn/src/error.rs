//! The crate's one error type.

use std::path::PathBuf;

/// What can go wrong with a model: its configuration, its files, its inputs or its numbers.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused to read or write a file.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was being done, as a verb: "read", "write", "rename".
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The operating system's reason.
        source: std::io::Error,
    },
    /// A model configuration is missing, malformed or describes a model Lyceum cannot build.
    #[error("model configuration: {0}")]
    Config(String),
    /// A checkpoint's bytes are not what its format or its model demands.
    #[error("{}: {problem}", path.display())]
    Checkpoint {
        /// The file.
        path: PathBuf,
        /// What is wrong and what to try.
        problem: String,
    },
    /// A batch, gradient or state does not fit the model.
    #[error("model input: {0}")]
    Input(String),
    /// A number that must be finite is not.
    #[error("not a finite number: {0}")]
    Numeric(String),
    /// candle failed, which composes the oracle of the kernels' decoder.
    #[cfg(feature = "composed")]
    #[error("candle: {0}")]
    Candle(#[from] candle_core::Error),
}

/// `Result` with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;
