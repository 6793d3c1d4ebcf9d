use std::path::PathBuf;

/// What can go wrong with a corpus, an index or an encoder.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A line of a file is not what it should be.
    #[error("{file}:{line}: {problem}")]
    Line {
        /// The file's name.
        file: String,
        /// Line, from 1.
        line: usize,
        /// What is wrong with it, and what it should be.
        problem: String,
    },
    /// A file can't be read or written.
    #[error("cannot {doing} {}", path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
    /// An index is not one, or is damaged.
    #[error("{}: {problem}", path.display())]
    Index {
        /// The index's folder, or the file in it.
        path: PathBuf,
        /// What is wrong, and what to do.
        problem: String,
    },
    /// What was asked for can't be done with this index or encoder.
    #[error("{0}")]
    Request(String),
    /// The tokenizer refused a text or its own file.
    #[error("tokenizer: {0}")]
    Tokenizer(String),
    /// The encoder.
    #[error(transparent)]
    Model(#[from] lyceum_nn::Error),
    /// The inverted index.
    #[error("inverted index: {0}")]
    Tantivy(#[from] tantivy::TantivyError),
    /// Reading lines.
    #[error(transparent)]
    Lines(#[from] lyceum_trace::Error),
    /// Writing a file whole.
    #[error(transparent)]
    Write(#[from] lyceum_run::Error),
}

/// The crate's result.
pub type Result<T> = std::result::Result<T, Error>;
