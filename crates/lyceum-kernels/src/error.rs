/// What can go wrong in this crate apart from programmer errors, which are assertions.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The name is none of the instruction-set levels.
    #[error("unknown instruction-set level '{0}': use portable, avx2, avx512 or avx512bf16")]
    UnknownLevel(String),
}

/// Result with this crate's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;
