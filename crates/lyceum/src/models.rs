//! Models as commands name them.

use std::path::Path;

use anyhow::{Context, Result};
use lyceum_engine::{Model, ModelRequest};
use lyceum_nn::decoder::{Options, Training};
use lyceum_rl::learner::weights_of;

use crate::cli::{ModelArgs, PrecisionArg, SamplingArgs};
use crate::session::Session;

/// Loads a model for use, not training. A run stands for its best weights.
pub fn load(session: &Session, name: &str, adapter: Option<&Path>, precision: PrecisionArg) -> Result<Model> {
    let weights = weights_of(Path::new(name))?;
    let name = weights.map_or_else(|| name.to_owned(), |folder| folder.to_string_lossy().into_owned());
    let request = ModelRequest {
        name: name.clone(),
        adapter: adapter.map(Path::to_path_buf),
        options: Options { precision: precision.into(), training: Training::Frozen, ..Options::default() },
        preset_context: 512,
    };
    Model::load(request, session.pool()?, &session.downloads()).with_context(|| format!("model {name}"))
}

impl ModelArgs {
    /// Loads the model that these arguments name.
    pub fn load(&self, session: &Session) -> Result<Model> {
        load(session, &self.model, self.adapter.as_deref(), self.precision)
    }
}

impl SamplingArgs {
    /// As the engine takes it.
    pub fn sampling(&self) -> Result<lyceum_engine::Sampling> {
        let sampling = lyceum_engine::Sampling {
            temperature: self.temperature,
            top_k: self.top_k,
            top_p: self.top_p,
            min_p: self.min_p,
            repetition_penalty: self.repetition_penalty,
        };
        match sampling.problem() {
            Some(problem) => anyhow::bail!("{problem}"),
            None => Ok(sampling),
        }
    }
}
