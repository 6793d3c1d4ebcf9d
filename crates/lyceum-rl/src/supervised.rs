//! Supervised fine-tuning: one optimiser step on demonstrations.

use lyceum_nn::policy::Policy;

use crate::experience::{Sequence, micro_batches, pack};
use crate::recipe::OptimizerSpec;
use crate::{Error, Result};

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
