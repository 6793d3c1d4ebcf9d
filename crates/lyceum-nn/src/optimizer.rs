//! AdamW over a flat parameter vector.
//!
//! Loshchilov & Hutter, "Decoupled weight decay regularization" (2019), algorithm 2, with the bias corrections of
//! Kingma & Ba. Weight decay applies to matrices (embeddings among them), not to norms and biases.

use crate::{Error, Result};
use lyceum_kernels::{AdamWStep, HugeVec, Pool, adamw, squared_norm};
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// The constants of AdamW; the learning rate comes with each step.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct AdamW {
    /// Decay of the gradient's running mean.
    pub beta1: f32,
    /// Decay of the squared gradient's running mean.
    pub beta2: f32,
    /// Added to the root of the second moment.
    pub epsilon: f32,
    /// Decoupled decay of matrices, in units of the learning rate.
    pub weight_decay: f32,
}

impl Default for AdamW {
    /// PyTorch's betas and epsilon, no weight decay.
    fn default() -> Self {
        Self { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.0 }
    }
}

/// What a step did.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepInfo {
    /// Steps taken so far, this one included.
    pub step: u64,
    /// 2-norm of the gradient before clipping.
    pub gradient_norm: f64,
    /// Factor which clipping applied to the gradient; 1 if it did not clip.
    pub clip_factor: f32,
}

/// The optimiser's memory, borrowed: all that resumption needs besides the parameters.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OptimizerState<'a> {
    /// Steps taken.
    pub step: u64,
    /// Running mean of the gradient, flat; empty before the first step.
    pub first: &'a [f32],
    /// Running mean of the squared gradient, flat; empty before the first step.
    pub second: &'a [f32],
}

/// The moments of a flat parameter vector, and the step.
#[derive(Debug, Default)]
pub struct Moments {
    step: u64,
    first: HugeVec<f32>,
    second: HugeVec<f32>,
}

impl Moments {
    /// One step over flat `parameters`: clips the gradient to global norm `clip`, decays `decayed` only.
    ///
    /// # Errors
    /// [`Error::Numeric`] if the gradient's norm is not finite; nothing is changed then.
    pub fn step(
        &mut self,
        pool: &Pool,
        optimizer: &AdamW,
        learning_rate: f32,
        clip: Option<f32>,
        parameters: &mut [f32],
        gradient: &[f32],
        decayed: Range<usize>,
    ) -> Result<StepInfo> {
        let gradient_norm = squared_norm(pool, gradient).sqrt();
        if !gradient_norm.is_finite() {
            return Err(Error::Numeric(format!(
                "the gradient's norm is {gradient_norm} at step {}; lower the learning rate or look at the batch",
                self.step + 1
            )));
        }
        let clip_factor = match clip {
            Some(clip) if gradient_norm > f64::from(clip) => (f64::from(clip) / gradient_norm) as f32,
            _ => 1.0,
        };
        if self.first.len() != parameters.len() {
            self.first = HugeVec::zeroed(parameters.len());
            self.second = HugeVec::zeroed(parameters.len());
        }
        self.step += 1;
        for (range, weight_decay) in [
            (0..decayed.start, 0.0),
            (decayed.clone(), optimizer.weight_decay),
            (decayed.end..parameters.len(), 0.0),
        ] {
            let settings = AdamWStep {
                learning_rate,
                beta1: optimizer.beta1,
                beta2: optimizer.beta2,
                eps: optimizer.epsilon,
                weight_decay,
                gradient_scale: clip_factor,
                step: self.step,
            };
            adamw(
                pool,
                &settings,
                &mut parameters[range.clone()],
                &gradient[range.clone()],
                &mut self.first[range.clone()],
                &mut self.second[range],
                None,
            );
        }
        Ok(StepInfo { step: self.step, gradient_norm, clip_factor })
    }

    /// What resumption needs.
    pub fn state(&self) -> OptimizerState<'_> {
        OptimizerState { step: self.step, first: &self.first, second: &self.second }
    }

    /// Takes back a state for a vector of `len` parameters.
    ///
    /// # Errors
    /// [`Error::Input`] if the state belongs to a vector of another length.
    pub fn load(&mut self, state: OptimizerState<'_>, len: usize) -> Result<()> {
        let fits = |moment: &[f32]| moment.len() == len || (state.step == 0 && moment.is_empty());
        if !fits(state.first) || !fits(state.second) {
            return Err(Error::Input(format!(
                "optimiser state of {} and {} elements for {len} parameters",
                state.first.len(),
                state.second.len()
            )));
        }
        self.step = state.step;
        self.first = HugeVec::from_slice(state.first);
        self.second = HugeVec::from_slice(state.second);
        Ok(())
    }
}
