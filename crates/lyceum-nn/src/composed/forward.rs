//! The decoder's mathematics, written once more out of candle's basic operations.
//!
//! Every operation used here has a backward. candle's fused ones (`softmax_last_dim`, `rms_norm`, `rope`, `sdpa` of
//! candle_nn) have none and would cut the graph silently, so they are spelt out.

use crate::config::DecoderConfig;
use crate::params::{Layout, VALUE_BIAS, VALUE_WEIGHT};
use crate::policy::{Batch, Input, Segment};
use crate::{Error, Result};
use candle_core::{D, Device, Tensor, Var};

/// The parameters as candle variables, in the order of the layout's entries.
#[derive(Debug)]
pub(super) struct Weights {
    pub variables: Vec<Var>,
}

/// The statistics of a batch's targets, each of shape `[targets]`, with the graph that leads to them.
#[derive(Debug)]
pub(super) struct Outputs {
    pub logp: Tensor,
    pub entropy: Tensor,
    pub value: Option<Tensor>,
}

/// A forward over one batch.
pub(super) struct Forward<'a> {
    pub config: &'a DecoderConfig,
    pub layout: &'a Layout,
    pub weights: &'a Weights,
    pub device: &'a Device,
}

impl Forward<'_> {
    /// The rows that enter the first layer, `[rows, hidden]`.
    pub fn embed(&self, batch: &Batch) -> Result<Tensor> {
        Ok(match &batch.input {
            Input::Ids(ids) => {
                let ids = Tensor::new(ids.as_slice(), self.device)?;
                self.weight("model.embed_tokens.weight")?.index_select(&ids, 0)?
            }
            Input::Embeddings { data } => {
                Tensor::from_slice(data, (batch.rows(), self.config.hidden_size), self.device)?
            }
        })
    }

    /// From embedded rows to the targets' statistics. The batch has been validated and has a target.
    pub fn run(&self, batch: &Batch, embedded: &Tensor) -> Result<Outputs> {
        let mask = Tensor::from_vec(mask(&batch.segments), (batch.rows(), batch.rows()), self.device)?;
        let rope = self.rope(&batch.positions)?;
        let mut stream = embedded.clone();
        for layer in 0..self.config.num_layers {
            let name = |part: &str| format!("model.layers.{layer}.{part}");
            let normed = self.rms_norm(&stream, &name("input_layernorm.weight"))?;
            stream = (stream + self.attention(&normed, layer, &rope, &mask)?)?;
            let normed = self.rms_norm(&stream, &name("post_attention_layernorm.weight"))?;
            let gate = self.linear(&normed, &name("mlp.gate_proj"))?.silu()?;
            let up = self.linear(&normed, &name("mlp.up_proj"))?;
            stream = (stream + self.linear(&(gate * up)?, &name("mlp.down_proj"))?)?;
        }
        self.head(batch, &stream)
    }

    fn weight(&self, name: &str) -> Result<&Tensor> {
        let entries = self.layout.entries().iter();
        let variable = entries.zip(&self.weights.variables).find(|(entry, _)| entry.name == name);
        variable
            .map(|(_, variable)| variable.as_tensor())
            .ok_or_else(|| Error::Input(format!("the model has no tensor {name:?}")))
    }

    /// `x W^T`, with the bias if the layer has one.
    fn linear(&self, x: &Tensor, module: &str) -> Result<Tensor> {
        let product = x.matmul(&self.weight(&format!("{module}.weight"))?.t()?)?;
        match self.weight(&format!("{module}.bias")) {
            Ok(bias) => Ok(product.broadcast_add(bias)?),
            Err(_) => Ok(product),
        }
    }

    /// `x / rms(x) * weight` over the last dimension.
    fn rms_norm(&self, x: &Tensor, weight: &str) -> Result<Tensor> {
        let mean_square = x.sqr()?.mean_keepdim(D::Minus1)?;
        let rms = (mean_square + self.config.rms_norm_eps)?.sqrt()?;
        Ok(x.broadcast_div(&rms)?.broadcast_mul(self.weight(weight)?)?)
    }

    /// Cosines and sines of every row's angles, `[rows, head_dim / 2]` each.
    fn rope(&self, positions: &[u32]) -> Result<(Tensor, Tensor)> {
        let frequencies = self.config.rope_frequencies();
        let shape = (positions.len(), frequencies.len());
        // The angle is rounded to f32, as in transformers.
        let angles: Vec<f32> = positions
            .iter()
            .flat_map(|&position| frequencies.iter().map(move |f| position as f32 * f))
            .collect();
        let angles = Tensor::from_vec(angles, shape, self.device)?;
        Ok((angles.cos()?, angles.sin()?))
    }

    fn attention(&self, x: &Tensor, layer: usize, rope: &(Tensor, Tensor), mask: &Tensor) -> Result<Tensor> {
        let config = self.config;
        let name = |part: &str| format!("model.layers.{layer}.self_attn.{part}");
        let (rows, group) = (x.dim(0)?, config.num_heads / config.num_kv_heads);
        // [heads, rows, head_dim]
        let heads = |part: &str, count: usize| -> Result<Tensor> {
            let projected = self.linear(x, &name(part))?.reshape((rows, count, config.head_dim))?;
            Ok(projected.transpose(0, 1)?.contiguous()?)
        };
        let positioned = |heads: Tensor, norm: &str| -> Result<Tensor> {
            let heads = if config.qk_norm() { self.rms_norm(&heads, &name(norm))? } else { heads };
            rotate(&heads, rope)
        };
        // Each key and value head serves `group` neighbouring query heads.
        let shared = |heads: Tensor| -> Result<Tensor> {
            let spread =
                heads.unsqueeze(1)?.broadcast_as((config.num_kv_heads, group, rows, config.head_dim))?;
            Ok(spread.contiguous()?.reshape((config.num_heads, rows, config.head_dim))?)
        };
        let query = positioned(heads("q_proj", config.num_heads)?, "q_norm.weight")?;
        let key = shared(positioned(heads("k_proj", config.num_kv_heads)?, "k_norm.weight")?)?;
        let value = shared(heads("v_proj", config.num_kv_heads)?)?;

        let scores = (query.matmul(&key.transpose(1, 2)?.contiguous()?)? / (config.head_dim as f64).sqrt())?;
        let attended = log_softmax(&scores.broadcast_add(mask)?)?.exp()?.matmul(&value)?;
        let joined = attended.transpose(0, 1)?.contiguous()?.reshape((rows, config.query_width()))?;
        self.linear(&joined, &name("o_proj"))
    }

    /// The last norm and the heads, at the targets' rows only.
    fn head(&self, batch: &Batch, stream: &Tensor) -> Result<Outputs> {
        let rows: Vec<u32> = batch.targets.iter().map(|target| target.row).collect();
        let tokens: Vec<u32> = batch.targets.iter().map(|target| target.token).collect();
        let predicting = stream.index_select(&Tensor::new(rows, self.device)?, 0)?;
        let normed = self.rms_norm(&predicting, "model.norm.weight")?;
        let head = if self.config.tied_embeddings { "model.embed_tokens" } else { "lm_head" };
        let logits = (self.linear(&normed, head)? / f64::from(batch.temperature))?;
        let logp = log_softmax(&logits)?;
        let entropy = (logp.exp()? * &logp)?.sum(D::Minus1)?.neg()?;
        let tokens = Tensor::new(tokens, self.device)?.unsqueeze(1)?;
        let value = match self.layout.value {
            None => None,
            Some(_) => {
                let product = normed.matmul(&self.weight(VALUE_WEIGHT)?.t()?)?;
                Some(product.broadcast_add(self.weight(VALUE_BIAS)?)?.squeeze(1)?)
            }
        };
        Ok(Outputs { logp: logp.gather(&tokens, 1)?.squeeze(1)?, entropy, value })
    }
}

/// `x - log(sum(exp(x)))` over the last dimension. The maximum is subtracted as a constant: it cancels.
fn log_softmax(x: &Tensor) -> Result<Tensor> {
    let shifted = x.broadcast_sub(&x.max_keepdim(D::Minus1)?.detach())?;
    Ok(shifted.broadcast_sub(&shifted.exp()?.sum_keepdim(D::Minus1)?.log()?)?)
}

/// Turns the pairs (element i, element i + half) of each head by their row's angles.
fn rotate(heads: &Tensor, (cosine, sine): &(Tensor, Tensor)) -> Result<Tensor> {
    let half = heads.dim(D::Minus1)? / 2;
    let (x, y) = (heads.narrow(D::Minus1, 0, half)?, heads.narrow(D::Minus1, half, half)?);
    let turned_x = (x.broadcast_mul(cosine)? - y.broadcast_mul(sine)?)?;
    let turned_y = (y.broadcast_mul(cosine)? + x.broadcast_mul(sine)?)?;
    Ok(Tensor::cat(&[turned_x, turned_y], D::Minus1)?)
}

/// What is added to the scores, `rows x rows`: 0 where a row sees another, and elsewhere a number whose exponential
/// beside any score is 0 (an infinity would become NaN in products with zero gradients).
fn mask(segments: &[Segment]) -> Vec<f32> {
    const UNSEEN: f32 = -1e30;
    let rows: usize = segments.iter().map(|segment| segment.len).sum();
    let mut mask = vec![UNSEEN; rows * rows];
    for segment in segments {
        for row in segment.start..segment.start + segment.len {
            let seen = &mut mask[row * rows..(row + 1) * rows];
            seen[segment.start..=row].fill(0.0);
            let mut parent = segment.parent;
            while let Some(ancestor) = parent.map(|index| segments[index]) {
                seen[ancestor.start..ancestor.start + ancestor.len].fill(0.0);
                parent = ancestor.parent;
            }
        }
    }
    mask
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_sees_its_past_and_its_ancestors() {
        let segment = |start, len, parent| Segment { start, len, parent };
        // A prompt of two rows, two completions, and an answer to the second.
        let segments =
            [segment(0, 2, None), segment(2, 1, Some(0)), segment(3, 2, Some(0)), segment(5, 1, Some(2))];
        let seen: Vec<String> = mask(&segments)
            .chunks(6)
            .map(|row| row.iter().map(|&x| if x == 0.0 { 'x' } else { '.' }).collect())
            .collect();
        assert_eq!(seen, ["x.....", "xx....", "xxx...", "xx.x..", "xx.xx.", "xx.xxx"]);
    }
}
