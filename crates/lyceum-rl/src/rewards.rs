//! The rewards of a recipe, with the models that they need.

use std::sync::Arc;

use lyceum_engine::{Model, ModelRequest};
use lyceum_env::RewardSpec;
use lyceum_env::reward::{ProcessReward, ProcessSpec, Rewards};
use lyceum_hub::Progress;
use lyceum_kernels::{Pool, Precision};
use lyceum_nn::decoder::Options;

use crate::learner::place_of;
use crate::recipe::Recipe;
use crate::{Error, Result};

/// The rewards of a recipe for what `policy` writes.
///
/// # Errors
/// As [`judge`].
pub fn rewards(
    recipe: &Recipe,
    policy: &Model,
    pool: &Arc<Pool>,
    progress: &dyn Progress,
) -> Result<Rewards> {
    let Some(spec) = recipe.policy.as_ref().map(|policy| &policy.reward) else {
        return Ok(Rewards::open(&RewardSpec::default()));
    };
    let process = spec.process.as_ref().map(|spec| judge(spec, policy, pool, progress)).transpose()?;
    let judge = spec.judge.as_ref().and_then(|judge| judge.model.as_ref());
    let judge = judge.map(|name| judge_model(name, policy, pool, progress)).transpose()?;
    Ok(Rewards::open(spec).with_process(process).with_judge(judge))
}

/// The judge of the steps that `policy` writes.
///
/// # Errors
/// [`Error::Engine`] for a model that can't be found or read; [`Error::Config`] for one with another tokenizer.
pub fn judge(
    spec: &ProcessSpec,
    policy: &Model,
    pool: &Arc<Pool>,
    progress: &dyn Progress,
) -> Result<ProcessReward> {
    let load = |name: &String| judge_model(name, policy, pool, progress);
    let model = spec.model.as_ref().map(load).transpose()?;
    Ok(ProcessReward::new(spec.clone(), model))
}

/// A model whose head judges what `policy` writes.
fn judge_model(name: &str, policy: &Model, pool: &Arc<Pool>, progress: &dyn Progress) -> Result<Model> {
    // Its head is stored with its weights and is read with them only where they are trainable.
    let options = Options { precision: Precision::F32, value_head: true, ..Options::default() };
    let request = ModelRequest { name: place_of(name)?, adapter: None, options, preset_context: 0 };
    let model = Model::load(request, Arc::clone(pool), progress)?;
    if !model.codec.tokenizer().same_ids(policy.codec.tokenizer()) {
        return Err(Error::Config(format!(
            "{name} has another tokenizer than {}, and a judge reads the policy's own tokens; train one from that model \
             with a table [labels] or [pairs]",
            policy.identity.name
        )));
    }
    Ok(model)
}
