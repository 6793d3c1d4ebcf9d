use std::path::PathBuf;

/// What can go wrong in finding, loading and running a model.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The model's files, shape or arithmetic.
    #[error(transparent)]
    Model(#[from] lyceum_nn::Error),
    /// Tokenizer or chat template.
    #[error(transparent)]
    Text(#[from] lyceum_text::Error),
    /// Finding or fetching the model.
    #[error(transparent)]
    Hub(#[from] lyceum_hub::Error),
    /// A model folder without what it needs.
    #[error("{path}: {cause}")]
    Folder {
        /// The folder or file.
        path: PathBuf,
        /// What is missing, and what to do.
        cause: String,
    },
}

/// Result of this crate.
pub type Result<T> = std::result::Result<T, Error>;
