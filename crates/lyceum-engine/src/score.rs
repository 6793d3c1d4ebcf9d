//! What a model thinks of given tokens.

use lyceum_kernels::{exp_weights, row_maximum};
use lyceum_nn::decoder::RowInput;
use lyceum_nn::policy::{Batch, Policy};

use crate::{Model, Result};

/// Rows whose logits exist at once; bounds memory.
const ROWS: usize = 64;

impl Model {
    /// Log-probability of each token of `continuation` after `prompt`, as the trainer computes it, at temperature 1.
    ///
    /// # Errors
    /// [`Error::Model`](crate::Error::Model) for an empty prompt, or tokens that do not fit the model.
    pub fn log_probabilities(&self, prompt: &[u32], continuation: &[u32]) -> Result<Vec<f32>> {
        if prompt.is_empty() {
            return Err(
                lyceum_nn::Error::Input("a prompt is empty; give at least one token (bos)".into()).into()
            );
        }
        if continuation.is_empty() {
            return Ok(Vec::new());
        }
        let mut batch = Batch::of_sequences(&[&[prompt, continuation].concat()]);
        batch.targets.drain(..prompt.len() - 1);
        Ok(self.policy.evaluate(&batch)?.logp)
    }

    /// The `top` most probable tokens in the place of each token of `continuation` with their log-probabilities at temperature 1,
    /// the best first.
    ///
    /// # Errors
    /// [`Error::Model`](crate::Error::Model) as [`log_probabilities`](Self::log_probabilities).
    pub fn alternatives(
        &self,
        prompt: &[u32],
        continuation: &[u32],
        top: usize,
    ) -> Result<Vec<Vec<(u32, f32)>>> {
        let decoder = self.policy.decoder();
        let (width, level) = (decoder.config().vocab_size, decoder.pool().level());
        let mut cache = decoder.cache();
        let slot = cache.allocate();
        let mut logits = Vec::new();
        let mut all = Vec::with_capacity(continuation.len());
        if continuation.is_empty() {
            return Ok(all);
        }
        let mut keep = |logits: &mut [f32]| {
            all.extend(logits.chunks_exact_mut(width).map(|row| {
                let most = row_maximum(level, row);
                let mut order: Vec<u32> = (0..width as u32).collect();
                let top = top.min(width);
                let by_logit =
                    |a: &u32, b: &u32| row[*b as usize].total_cmp(&row[*a as usize]).then(a.cmp(b));
                if top > 0 && top < width {
                    order.select_nth_unstable_by(top - 1, by_logit);
                }
                order.truncate(top);
                order.sort_by(by_logit);
                let best: Vec<(u32, f32)> = order.iter().map(|&id| (id, row[id as usize] - most)).collect();
                let sum = exp_weights(level, row, 1.0, most).ln();
                best.into_iter().map(|(id, logit)| (id, logit - sum)).collect::<Vec<_>>()
            }));
        };
        decoder.prefill(&mut cache, &[(slot, prompt)], &mut logits)?;
        keep(&mut logits);
        for chunk in continuation[..continuation.len() - 1].chunks(ROWS) {
            let rows: Vec<RowInput> = chunk.iter().map(|&token| RowInput { token, slot }).collect();
            let wanted: Vec<usize> = (0..rows.len()).collect();
            decoder.extend(&mut cache, &rows, &wanted, &mut logits)?;
            keep(&mut logits);
        }
        Ok(all)
    }
}
