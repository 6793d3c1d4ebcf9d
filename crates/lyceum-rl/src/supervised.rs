//! Supervised fine-tuning: imitate demonstrations.

use lyceum_engine::Codec;
use lyceum_env::tool::Toolbox;
use lyceum_env::{Problem, Task};
use lyceum_nn::policy::Policy;
use lyceum_run::Row;

use crate::experience::{Sequence, micro_batches, pack};
use crate::learner::Learner;
use crate::recipe::{OptimizerSpec, Recipe, SftSpec};
use crate::round::problems;
use crate::{Error, Result};

/// One round: a batch of demonstrations, one optimiser step. Returns what is logged of it.
///
/// # Errors
/// [`Error::Data`] for a problem without a demonstration; those of [`step`].
pub fn round(
    learner: &mut Learner,
    recipe: &Recipe,
    spec: &SftSpec,
    task: &dyn Task,
    tools: Option<&Toolbox>,
    round: u64,
) -> Result<Row> {
    let codec = &learner.model.codec;
    let demonstration = |problem: &Problem| {
        let answer = problem.demonstration.as_deref().ok_or_else(|| no_demonstration(problem))?;
        let Some(toolbox) = tools else {
            let encoded = codec.demonstration(&problem.conversation(), answer)?;
            return Ok(Sequence::demonstration(encoded.ids, encoded.trained));
        };
        with_tools(codec, toolbox, problem, answer)
    };
    let problems = problems(recipe, task, round, spec.batch)?;
    let demonstrations: Vec<Sequence> = problems.iter().map(demonstration).collect::<Result<_>>()?;
    let policy = &mut learner.model.policy;
    let total = recipe.optimizer_steps();
    let report = step(policy, &demonstrations, spec.micro_tokens, &recipe.optimizer, round, total)?;
    let mut row = Row::new(round + 1);
    row.set("sft/loss", report.loss);
    row.set("sft/tokens", report.tokens as f64);
    row.set("optimizer/gradient-norm", report.gradient_norm);
    row.set("optimizer/learning-rate", f64::from(report.learning_rate));
    Ok(row)
}

/// A demonstration that calls tools, as a rollout would have it: the words after each call are the tool's and not learnt.
fn with_tools(codec: &Codec, toolbox: &Toolbox, problem: &Problem, answer: &str) -> Result<Sequence> {
    let encode = |text: &str| codec.tokenizer().encode(text).map_err(lyceum_engine::Error::Text);
    let mut ids = codec.prompt(&problem.conversation())?;
    let mut trained = Vec::new();
    let mut learn = |ids: &mut Vec<u32>, own: &[u32]| {
        trained.extend(ids.len() as u32..(ids.len() + own.len()) as u32);
        ids.extend(own);
    };
    let (stops, mut rest, mut calls) = (toolbox.stops(), answer, 0);
    while calls < toolbox.limit()
        && let Some((at, stop)) =
            stops.iter().filter_map(|stop| Some((rest.find(stop.as_str())?, stop))).min()
    {
        let end = at + stop.len();
        learn(&mut ids, &encode(&rest[..end])?);
        if let Some(called) = toolbox.call(&rest[..at], stop) {
            let observation = toolbox.observation(&toolbox.answer(&called));
            let heard = codec.tokenizer().encode_foreign(&observation);
            ids.extend(heard.map_err(lyceum_engine::Error::Text)?);
        }
        rest = &rest[end..];
        calls += 1;
    }
    let mut last = encode(rest)?;
    last.extend(codec.stop_tokens().first());
    learn(&mut ids, &last);
    Ok(Sequence::demonstration(ids, trained))
}

fn no_demonstration(problem: &Problem) -> Error {
    Error::Data(format!("problem {} has no demonstration; supervised fine-tuning needs one", problem.id))
}

/// What a step did, for the log.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepReport {
    /// Mean negative log-probability of the demonstrations' tokens, in nats.
    pub loss: f64,
    /// Demonstration tokens.
    pub tokens: usize,
    /// Norm of the gradient before clipping.
    pub gradient_norm: f64,
    /// Learning rate.
    pub learning_rate: f32,
}

/// One step on `demonstrations`; every trained token counts alike. `step` counts from 0 and `total` is the number of
/// steps of the run, for the schedule.
///
/// # Errors
/// [`Error::Numeric`] when the loss is not finite (the weights are unchanged); faults of the model.
pub fn step<P: Policy>(
    policy: &mut P,
    demonstrations: &[Sequence],
    micro_tokens: usize,
    optimizer: &OptimizerSpec,
    step: u64,
    total: u64,
) -> Result<StepReport> {
    let groups: Vec<Vec<&Sequence>> = demonstrations.iter().map(|d| vec![d]).collect();
    let tokens: usize = demonstrations.iter().map(|d| d.trained.len()).sum();
    if tokens == 0 {
        return Err(Error::Data("the demonstrations hold no token to train on".into()));
    }
    let weight = 1.0 / tokens as f32;
    policy.zero_grad();
    let mut loss = 0.0;
    for pieces in micro_batches(&groups, micro_tokens) {
        let members: Vec<Vec<&Sequence>> =
            pieces.iter().map(|piece| piece.iter().map(|&(g, s)| groups[g][s]).collect()).collect();
        let batch = pack(&members, 1.0)?;
        let stats = policy.weighted_likelihood(&batch, &vec![weight; batch.targets.len()])?;
        loss -= stats.logp.iter().map(|&logp| f64::from(logp)).sum::<f64>() / tokens as f64;
    }
    if !loss.is_finite() {
        let cause = "the loss is not finite; lower optimizer.learning_rate";
        return Err(Error::Numeric { step, cause: cause.into() });
    }
    let learning_rate = optimizer.rate(step, total);
    let info = policy.step(&optimizer.adamw(), learning_rate, optimizer.clip())?;
    Ok(StepReport { loss, tokens, gradient_norm: info.gradient_norm, learning_rate })
}
