/// What can go wrong in training.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Data that cannot be trained on.
    #[error("{0}")]
    Data(String),
    /// A recipe that makes no sense.
    #[error("recipe: {0}")]
    Config(String),
    /// A number that is not finite, or an invariant that does not hold.
    #[error("step {step}: {cause}")]
    Numeric {
        /// The training step.
        step: u64,
        /// What was seen, and what to try.
        cause: String,
    },
    /// The model.
    #[error(transparent)]
    Model(#[from] lyceum_nn::Error),
    /// The generator.
    #[error(transparent)]
    Engine(#[from] lyceum_engine::Error),
    /// The task or a reward.
    #[error(transparent)]
    Env(#[from] lyceum_env::Error),
    /// The run folder.
    #[error(transparent)]
    Run(#[from] lyceum_run::Error),
    /// A trace file.
    #[error(transparent)]
    Trace(#[from] lyceum_trace::Error),
}

/// Result of this crate.
pub type Result<T> = std::result::Result<T, Error>;
