//! The seam between a trainer and a model.
//!
//! An objective is a pure function of log-probabilities, entropies and values; a [`Policy`] turns token batches into
//! these and their derivatives into parameter gradients. Nothing else passes between the two.

use crate::config::DecoderConfig;
use crate::optimizer::{AdamW, OptimizerState, StepInfo};
use crate::{Error, Result};

pub use lyceum_kernels::Segment;

/// What enters the first layer.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// Token ids, one a row.
    Ids(Vec<u32>),
    /// Rows of the residual stream's width in place of embedded tokens (another model's output).
    Embeddings {
        /// `rows x hidden`, row-major.
        data: Vec<f32>,
    },
}

/// A wish for log p(`token` | everything up to and with `row`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target {
    /// Row of the batch whose hidden state predicts.
    pub row: u32,
    /// The predicted token: usually the input of the next row.
    pub token: u32,
}

/// Packed sequences with the places where predictions are wanted.
///
/// Rows of all sequences lie one after the other without padding. [`Segment`]s tell which rows belong together: a
/// row sees its own segment up to itself, and all rows of its segment's ancestors. Several completions of a prompt
/// are segments with the prompt's as parent; their positions start where the prompt's end.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// The rows.
    pub input: Input,
    /// Position of each row within its own sequence (for rope).
    pub positions: Vec<u32>,
    /// Segments in row order; they cover all rows, and a parent stands before its children.
    pub segments: Vec<Segment>,
    /// Predictions wanted; a row may have none or several.
    pub targets: Vec<Target>,
    /// Logits are divided by this before the softmax; 1 for the model's own distribution.
    pub temperature: f32,
}

impl Batch {
    /// Packs whole sequences; each token but a sequence's first is predicted by the row before it.
    pub fn of_sequences(sequences: &[&[u32]]) -> Self {
        let mut batch = Self {
            input: Input::Ids(Vec::new()),
            positions: Vec::new(),
            segments: Vec::new(),
            targets: Vec::new(),
            temperature: 1.0,
        };
        let mut ids = Vec::new();
        for sequence in sequences.iter().filter(|sequence| !sequence.is_empty()) {
            let start = ids.len();
            batch.segments.push(Segment { start, len: sequence.len(), parent: None });
            batch.positions.extend(0..sequence.len() as u32);
            let predicted = sequence[1..].iter().enumerate();
            batch.targets.extend(predicted.map(|(i, &token)| Target { row: (start + i) as u32, token }));
            ids.extend_from_slice(sequence);
        }
        batch.input = Input::Ids(ids);
        batch
    }

    /// Packs groups of completions, each group after one copy of its prompt. Every completion token is a target, in
    /// the order given: group by group, completion by completion.
    ///
    /// # Errors
    /// [`Error::Input`] for a group without a prompt: its completions' first tokens have nothing to be predicted from.
    pub fn of_groups(groups: &[(&[u32], &[&[u32]])]) -> Result<Self> {
        let mut batch = Self::of_sequences(&[]);
        let mut ids = Vec::new();
        for (group, &(prompt, completions)) in groups.iter().enumerate() {
            if prompt.is_empty() {
                return Err(Error::Input(format!(
                    "group {group} has no prompt; give at least one token (bos)"
                )));
            }
            let parent = batch.segments.len();
            let prompt_start = ids.len();
            batch.segments.push(Segment { start: prompt_start, len: prompt.len(), parent: None });
            batch.positions.extend(0..prompt.len() as u32);
            ids.extend_from_slice(prompt);
            for completion in completions.iter().filter(|completion| !completion.is_empty()) {
                let start = ids.len();
                // The last token predicts nothing, so it needs no row.
                let rows = completion.len() - 1;
                let first = (prompt_start + prompt.len() - 1) as u32;
                batch.targets.push(Target { row: first, token: completion[0] });
                let predicted = completion[1..].iter().enumerate();
                batch.targets.extend(predicted.map(|(i, &token)| Target { row: (start + i) as u32, token }));
                if rows > 0 {
                    batch.segments.push(Segment { start, len: rows, parent: Some(parent) });
                    batch.positions.extend((prompt.len()..prompt.len() + rows).map(|p| p as u32));
                    ids.extend_from_slice(&completion[..rows]);
                }
            }
        }
        batch.input = Input::Ids(ids);
        Ok(batch)
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.positions.len()
    }

    /// Checks the batch against the model it is meant for.
    ///
    /// # Errors
    /// [`Error::Input`] naming the first thing that does not fit.
    pub fn validate(&self, config: &DecoderConfig) -> Result<()> {
        let rows = self.rows();
        let refuse = |problem: String| Err(Error::Input(problem));
        if rows == 0 {
            return refuse("the batch has no rows".into());
        }
        if u32::try_from(rows).is_err() {
            return refuse(format!("the batch has {rows} rows; split it"));
        }
        match &self.input {
            Input::Ids(ids) => {
                if ids.len() != rows {
                    return refuse(format!("{} token ids for {rows} positions", ids.len()));
                }
                if let Some(row) = ids.iter().position(|&id| id as usize >= config.vocab_size) {
                    let vocab = config.vocab_size;
                    return refuse(format!(
                        "token {} in row {row} is outside the vocabulary of {vocab}",
                        ids[row]
                    ));
                }
            }
            Input::Embeddings { data } => {
                if data.len() != rows * config.hidden_size {
                    let hidden = config.hidden_size;
                    return refuse(format!("{} embedding elements for {rows} rows of {hidden}", data.len()));
                }
            }
        }
        let mut next = 0;
        for (i, segment) in self.segments.iter().enumerate() {
            if segment.start != next || segment.len == 0 {
                return refuse(format!(
                    "segment {i} has rows {}..+{}; expected at least one, from row {next}",
                    segment.start, segment.len
                ));
            }
            if segment.parent.is_some_and(|parent| parent >= i) {
                return refuse(format!("segment {i} stands before its parent {:?}", segment.parent));
            }
            next = segment.start.saturating_add(segment.len);
        }
        if next != rows {
            return refuse(format!("segments cover {next} of {rows} rows"));
        }
        if let Some(&p) = self.positions.iter().find(|&&p| p as usize >= config.max_positions) {
            return refuse(format!(
                "position {p} is beyond the model's context of {}; shorten the sequence",
                config.max_positions
            ));
        }
        for target in &self.targets {
            if target.row as usize >= rows || target.token as usize >= config.vocab_size {
                return refuse(format!(
                    "target (row {}, token {}) is outside {rows} rows or the vocabulary of {}",
                    target.row, target.token, config.vocab_size
                ));
            }
        }
        if !(self.temperature > 0.0 && self.temperature.is_finite()) {
            return refuse(format!("temperature {} is not positive and finite", self.temperature));
        }
        Ok(())
    }
}

/// One number of each kind per target of the batch, in its order.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TokenStats {
    /// Log-probability of the target's token, in nats.
    pub logp: Vec<f32>,
    /// Entropy of the distribution that predicted it, in nats.
    pub entropy: Vec<f32>,
    /// The value head's output at the target's row; empty without a value head.
    pub value: Vec<f32>,
}

/// Derivatives of a loss by the [`TokenStats`]; an empty vector means zeros.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TokenGrads {
    /// dL / d logp.
    pub logp: Vec<f32>,
    /// dL / d entropy.
    pub entropy: Vec<f32>,
    /// dL / d value.
    pub value: Vec<f32>,
}

/// A trainable tensor, or its gradient, seen by name.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NamedTensor<'a> {
    /// Hugging Face (or PEFT) tensor name.
    pub name: &'a str,
    /// Row-major shape.
    pub shape: &'a [usize],
    /// The elements.
    pub data: &'a [f32],
}

/// A language model that can be trained through log-probabilities.
pub trait Policy {
    /// The model's shape.
    fn config(&self) -> &DecoderConfig;

    /// Forward; keeps what [`backward`](Self::backward) needs.
    ///
    /// # Errors
    /// [`Error::Input`] if the batch does not fit the model.
    fn logprobs(&mut self, batch: &Batch) -> Result<TokenStats>;

    /// Adds to the gradient that of the loss whose derivatives by the last [`logprobs`](Self::logprobs)' results are
    /// `grads`. Consumes what was kept: one backward for one forward.
    ///
    /// # Errors
    /// [`Error::Input`] without a forward before it, or for lengths that are neither 0 nor the number of targets.
    fn backward(&mut self, grads: &TokenGrads) -> Result<()>;

    /// Forward only: keeps nothing, leaves a pending backward alone.
    ///
    /// # Errors
    /// [`Error::Input`] if the batch does not fit the model.
    fn evaluate(&self, batch: &Batch) -> Result<TokenStats>;

    /// [`evaluate`](Self::evaluate) without the adapter: the model before LoRA training. The same as `evaluate` for a
    /// model without an adapter.
    ///
    /// # Errors
    /// [`Error::Input`] if the batch does not fit the model.
    fn evaluate_base(&self, batch: &Batch) -> Result<TokenStats>;

    /// Forward and backward of `-sum(weights * logp)` in one, without keeping logits; adds to the gradient.
    ///
    /// # Errors
    /// [`Error::Input`] if the batch does not fit the model or there is not one weight a target.
    fn weighted_likelihood(&mut self, batch: &Batch, weights: &[f32]) -> Result<TokenStats>;

    /// Sets the gradient to zero.
    fn zero_grad(&mut self);

    /// Sets the gradient to zero but for the tensors whose names `keep` accepts: what is not kept is not trained.
    fn keep_gradient(&mut self, keep: &dyn Fn(&str) -> bool);

    /// The gradient's 2-norm over all trainable parameters.
    fn gradient_norm(&self) -> f64;

    /// One optimiser step: clips the gradient to global norm `clip`, applies AdamW, refreshes the packed weights. The
    /// gradient is left as it is; call [`zero_grad`](Self::zero_grad) before the next accumulation.
    ///
    /// # Errors
    /// [`Error::Numeric`] if the gradient's norm is not finite; the weights are then unchanged.
    fn step(&mut self, optimizer: &AdamW, learning_rate: f32, clip: Option<f32>) -> Result<StepInfo>;

    /// All trainable tensors.
    fn named_parameters(&self) -> Vec<NamedTensor<'_>>;

    /// Their gradients, in the same order.
    fn named_gradients(&self) -> Vec<NamedTensor<'_>>;

    /// The optimiser's moments and step count, for exact resumption.
    fn optimizer_state(&self) -> OptimizerState<'_>;

    /// Takes back what [`optimizer_state`](Self::optimizer_state) gave.
    ///
    /// # Errors
    /// [`Error::Input`] if its size is not the model's.
    fn load_optimizer_state(&mut self, state: OptimizerState<'_>) -> Result<()>;

    /// Replaces trainable tensors by name, and refreshes the packed weights.
    ///
    /// # Errors
    /// [`Error::Input`] for a name the model lacks or a wrong number of elements; the model is then unchanged.
    fn load_parameters(&mut self, tensors: &[NamedTensor<'_>]) -> Result<()>;
}
