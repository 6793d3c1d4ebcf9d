//! `lyceum experiment`: one run of a study that trains no language model. It writes rows as training does, so that the same
//! machinery takes metrics from them and judges claims.

mod polyrag;
mod rag_evaluation;

use anyhow::Result;
use lyceum_run::{Layout, Recipe, Row};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::cli::ExperimentArgs;
use crate::session::Session;

/// A recipe of an experiment.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "experiment", rename_all = "kebab-case")]
pub enum Experiment {
    /// Views of evidence, in a world of conflicting sources.
    Polyrag(polyrag::Polyrag),
    /// Metrics against what people said.
    RagEvaluation(rag_evaluation::RagEvaluation),
}

/// Runs it.
pub fn run(session: &Session, arguments: &ExperimentArgs) -> Result<()> {
    let recipe = Recipe::<Experiment>::load(&arguments.recipe, &arguments.set)?;
    let mut row = Row::new(1);
    match &recipe.value {
        Experiment::Polyrag(experiment) => experiment.run(session, &mut row)?,
        Experiment::RagEvaluation(experiment) => experiment.run(session, &mut row)?,
    }
    std::fs::create_dir_all(&arguments.out)?;
    let layout = Layout::new(&arguments.out);
    lyceum_run::write_file(&layout.recipe(), recipe.to_toml()?.as_bytes())?;
    lyceum_run::write_file(&layout.metrics(), format!("{}\n", serde_json::to_string(&row)?).as_bytes())?;
    session.print_json(&json!({"rounds": 1, "interrupted": false}))
}
