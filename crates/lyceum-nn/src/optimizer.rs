//! AdamW over a flat parameter vector.
//!
//! Loshchilov & Hutter, "Decoupled weight decay regularization" (2019), algorithm 2, with the bias corrections of
//! Kingma & Ba. Weight decay applies to matrices (embeddings among them), not to norms and biases.

use crate::{Error, Result};
use serde::{Deserialize, Serialize};

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
    first: Vec<f32>,
    second: Vec<f32>,
}

impl Moments {
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
        self.first = state.first.to_vec();
        self.second = state.second.to_vec();
        Ok(())
    }
}
