/// What can go wrong with what is given to be examined.
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
    /// A metric that nobody knows.
    #[error("unknown metric {name:?}; known are {known}")]
    UnknownMetric {
        /// What was asked for.
        name: String,
        /// What there is.
        known: String,
    },
    /// What decides entailment failed.
    #[error("entailment by {backend} failed: {problem}")]
    Entailment {
        /// Which back end.
        backend: String,
        /// Why.
        problem: String,
    },
}

/// The crate's result.
pub type Result<T> = std::result::Result<T, Error>;
