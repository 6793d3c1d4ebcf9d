use std::path::PathBuf;

use crate::VERSION;

/// What can go wrong with a trace or a file of them.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system refused.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file in question.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A line of a file is bad; the cause is wrapped.
    #[error("{}:{line}: {cause}", path.display())]
    At {
        /// The file in question.
        path: PathBuf,
        /// Line number, from 1.
        line: u64,
        /// What is wrong with the line.
        #[source]
        cause: Box<Error>,
    },
    /// A line is longer than the reader allows.
    #[error("line longer than {limit} bytes; raise the limit if the file is to be trusted")]
    TooLong {
        /// The reader's limit in bytes.
        limit: usize,
    },
    /// The last line has no end: its writer was killed or ran out of disk.
    #[error(
        "the last line is torn after {bytes} bytes (its writer was stopped in the middle); read with torn lines \
         tolerated, or append to the file to repair it"
    )]
    Torn {
        /// Bytes of the unfinished line.
        bytes: usize,
    },
    /// The record is of another version of the format.
    #[error("trace version {found}; this program reads version {VERSION}")]
    Version {
        /// The version in the record.
        found: u64,
    },
    /// Not JSON, or not of the record's shape.
    #[error("not a trace: {0}")]
    Json(#[from] serde_json::Error),
    /// Well-formed, but the record contradicts itself.
    #[error("inconsistent trace: {0}")]
    Invalid(String),
}

impl Error {
    pub(crate) fn io(path: &std::path::Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io { path, source }
    }
}

/// A result with this crate's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;
