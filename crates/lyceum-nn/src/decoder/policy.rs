//! The decoder as a trainable [`Policy`]: one operation with a hand-written backward.

use crate::config::DecoderConfig;
use crate::decoder::activations::{BackwardScratch, Scratch, Tape};
use crate::decoder::head::HeadTape;
use crate::decoder::initial;
use crate::decoder::layer::Geometry;
use crate::decoder::model::{Adapter, Decoder, Source};
use crate::lora::{LoraConfig, LoraLayout};
use crate::optimizer::{AdamW, Moments, OptimizerState, StepInfo};
use crate::params::{Entry, Layout};
use crate::policy::{Batch, Input, NamedTensor, Policy, TokenGrads, TokenStats};
use crate::{Error, Result};
use lyceum_kernels::{HugeVec, Pool, Precision, RopeTable, squared_norm};
use std::sync::Arc;

/// What of a model is trained.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Training {
    /// All weights, from an f32 master copy.
    #[default]
    Full,
    /// A low-rank adapter; the base is frozen and kept in the products' precision only.
    Lora(LoraConfig),
    /// Nothing: for generation and evaluation.
    Frozen,
}

/// How a [`KernelPolicy`] works; the mathematics is the same for all choices but `precision`.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// Precision of the operands of products.
    pub precision: Precision,
    /// What is trained.
    pub training: Training,
    /// Adds a value head, zero at first.
    pub value_head: bool,
    /// Keeps only each layer's input and computes the layer again in backward: less memory, a third more work.
    pub checkpointing: bool,
    /// Targets whose logits are computed at a time.
    pub head_chunk: usize,
    /// Bytes of logits that [`Policy::logprobs`] may keep for backward; beyond, they are computed again.
    pub kept_logits: usize,
    /// Seed of what the source does not give: a new adapter.
    pub seed: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            precision: Precision::Bf16,
            training: Training::Full,
            value_head: false,
            checkpointing: false,
            head_chunk: 256,
            kept_logits: 512 << 20,
            seed: 0,
        }
    }
}

/// A decoder of the Llama family over the kernels, trainable.
#[derive(Debug)]
pub struct KernelPolicy {
    decoder: Decoder,
    options: Options,
    gradient: HugeVec<f32>,
    moments: Moments,
    room: Room,
    head: HeadTape,
    /// The batch of a forward whose backward has not come yet.
    pending: Option<Batch>,
    input_gradient: Vec<f32>,
}

/// Buffers for one number of rows.
#[derive(Debug)]
struct Room {
    rows: usize,
    tape: Tape,
    scratch: Scratch,
    back: BackwardScratch,
}

impl KernelPolicy {
    /// A model whose tensors `source` gives, called once for each of the base model's; a value head starts at zero.
    ///
    /// # Errors
    /// [`Error::Config`] or [`Error::Input`] for a configuration that makes no model; whatever `source` returns.
    pub fn new(
        config: DecoderConfig,
        options: Options,
        pool: Arc<Pool>,
        source: &mut Source<'_>,
    ) -> Result<Self> {
        config.validate()?;
        let lora = match &options.training {
            Training::Lora(lora) => Some(lora.clone()),
            Training::Full | Training::Frozen => None,
        };
        let trained = options.training == Training::Full;
        let layout = Layout::new(&config, options.value_head && trained);
        let mut base = |entry: &Entry, out: &mut [f32]| {
            if crate::params::is_value_head(&entry.name) { Ok(()) } else { source(entry, out) }
        };
        let mut decoder = Decoder::load(config, layout, options.precision, pool, trained, &mut base)?;
        if let Some(lora) = lora {
            lora.validate()?;
            let layout = LoraLayout::new(decoder.config(), &lora, options.value_head);
            let mut flat = HugeVec::zeroed(layout.len());
            layout.initialise(&mut flat, &mut initial::generator(options.seed));
            decoder.attach(lora, layout, flat);
        }
        let gradient = HugeVec::zeroed(decoder.trainable().len());
        let room = Room::new(&decoder.config, &options, 0);
        Ok(Self {
            decoder,
            options,
            gradient,
            moments: Moments::default(),
            room,
            head: HeadTape::default(),
            pending: None,
            input_gradient: Vec::new(),
        })
    }

    /// A model with random weights drawn from `seed`; see [`initial::tensor`].
    ///
    /// # Errors
    /// As [`KernelPolicy::new`].
    pub fn random(config: DecoderConfig, options: Options, pool: Arc<Pool>, seed: u64) -> Result<Self> {
        let mut random = initial::generator(seed);
        let layers = config.num_layers;
        Self::new(config, options, pool, &mut |entry, out| {
            initial::tensor(&entry.name, layers, &mut random, out);
            Ok(())
        })
    }

    /// The weights, for generation.
    pub fn decoder(&self) -> &Decoder {
        &self.decoder
    }

    /// How this policy works.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// The gradient of the last backward by [`Input::Embeddings`](crate::policy::Input)'s rows; empty before.
    pub fn input_gradient(&self) -> &[f32] {
        &self.input_gradient
    }

    /// Copies the base model's tensor `entry` to `out`, with its adapter, if it has one, folded in. Frozen matrices
    /// come in the products' precision.
    ///
    /// # Errors
    /// [`Error::Input`] if `out` is not of the tensor's size, or if the head has an adapter but no matrix of its own.
    pub fn merged(&self, entry: &Entry, out: &mut [f32]) -> Result<()> {
        self.decoder.read_merged(entry, out)
    }

    /// Gives back the memory of activations; the next forward takes it anew.
    pub fn release(&mut self) {
        self.room = Room::new(&self.decoder.config, &self.options, 0);
        self.head = HeadTape::default();
        self.pending = None;
    }

    /// Runs the layers with a tape and gathers the targets' hidden states.
    fn run_forward(&mut self, batch: &Batch) -> Result<()> {
        batch.validate(&self.decoder.config)?;
        if self.gradient.is_empty() {
            return Err(Error::Input("the model was loaded frozen; load it for training".into()));
        }
        self.pending = None;
        if self.room.rows < batch.rows() {
            // The old room goes first, so that both are never held.
            self.room = Room::new(&self.decoder.config, &self.options, 0);
            self.room = Room::new(&self.decoder.config, &self.options, batch.rows());
        }
        let Room { tape, scratch, .. } = &mut self.room;
        let rope = self.decoder.rope_for(batch);
        self.decoder.run_taped(batch, geometry(batch, &rope), tape, scratch);
        let len = batch.rows() * self.decoder.config.hidden_size;
        if let Some(stream) = tape.residual.last() {
            self.head.enter(&self.decoder, batch, &stream[..len]);
        }
        Ok(())
    }

    /// The layers' backward, from the residual stream's gradient in the room.
    fn run_back(&mut self, batch: &Batch) {
        let Room { tape, scratch, back, .. } = &mut self.room;
        let rope = self.decoder.rope_for(batch);
        self.decoder.run_back(batch, geometry(batch, &rope), tape, scratch, back, &mut self.gradient);
        self.input_gradient.clear();
        if let Input::Embeddings { data } = &batch.input {
            self.input_gradient.extend_from_slice(&back.d_residual[..data.len()]);
        }
    }

    fn named<'a>(&'a self, flat: &'a [f32]) -> Vec<NamedTensor<'a>> {
        let view = |entry: &'a Entry| NamedTensor {
            name: &entry.name,
            shape: &entry.shape,
            data: &flat[entry.range()],
        };
        self.decoder.trainable_entries().iter().map(view).collect()
    }
}

impl Room {
    fn new(config: &DecoderConfig, options: &Options, rows: usize) -> Self {
        Self {
            rows,
            tape: Tape::new(config, options.precision, rows, options.checkpointing),
            scratch: Scratch::new(config, rows),
            back: BackwardScratch::new(config, rows),
        }
    }
}

fn geometry<'a>(batch: &'a Batch, rope: &'a RopeTable) -> Geometry<'a> {
    Geometry { segments: &batch.segments, positions: &batch.positions, rope }
}

/// Refuses a list that is neither empty nor one element a target.
fn one_a_target(name: &str, values: &[f32], targets: usize) -> Result<()> {
    if values.is_empty() || values.len() == targets {
        return Ok(());
    }
    Err(Error::Input(format!("{} {name} derivatives for {targets} targets", values.len())))
}

impl Policy for KernelPolicy {
    fn config(&self) -> &DecoderConfig {
        &self.decoder.config
    }

    fn logprobs(&mut self, batch: &Batch) -> Result<TokenStats> {
        self.run_forward(batch)?;
        let Options { head_chunk, kept_logits, .. } = self.options;
        let stats = self.head.forward(&self.decoder, Adapter::On, head_chunk, kept_logits);
        self.pending = Some(batch.clone());
        Ok(stats)
    }

    fn backward(&mut self, grads: &TokenGrads) -> Result<()> {
        let targets = self.head.len();
        one_a_target("logp", &grads.logp, targets)?;
        one_a_target("entropy", &grads.entropy, targets)?;
        one_a_target("value", &grads.value, targets)?;
        if !grads.value.is_empty() && self.decoder.value_head().is_none() {
            return Err(Error::Input("value derivatives for a model without a value head".into()));
        }
        let Some(batch) = self.pending.take() else {
            return Err(Error::Input("backward without a forward before it".into()));
        };
        let len = batch.rows() * self.decoder.config.hidden_size;
        let d_stream = &mut self.room.back.d_residual[..len];
        self.head.backward(&self.decoder, self.options.head_chunk, grads, d_stream, &mut self.gradient);
        self.run_back(&batch);
        Ok(())
    }

    fn evaluate(&self, batch: &Batch) -> Result<TokenStats> {
        self.decoder.evaluate(batch, Adapter::On, self.options.head_chunk)
    }

    fn evaluate_base(&self, batch: &Batch) -> Result<TokenStats> {
        self.decoder.evaluate(batch, Adapter::Off, self.options.head_chunk)
    }

    fn weighted_likelihood(&mut self, batch: &Batch, weights: &[f32]) -> Result<TokenStats> {
        if weights.len() != batch.targets.len() {
            return Err(Error::Input(format!(
                "{} weights for {} targets",
                weights.len(),
                batch.targets.len()
            )));
        }
        self.run_forward(batch)?;
        let d_logp: Vec<f32> = weights.iter().map(|weight| -weight).collect();
        let len = batch.rows() * self.decoder.config.hidden_size;
        let d_stream = &mut self.room.back.d_residual[..len];
        let chunk = self.options.head_chunk;
        let stats = self.head.forward_backward(&self.decoder, chunk, &d_logp, d_stream, &mut self.gradient);
        self.run_back(batch);
        Ok(stats)
    }

    fn zero_grad(&mut self) {
        self.decoder.pool.split(&mut self.gradient, 1, |_, part| part.fill(0.0));
    }

    fn keep_gradient(&mut self, keep: &dyn Fn(&str) -> bool) {
        for entry in self.decoder.trainable_entries().iter().filter(|entry| !keep(&entry.name)) {
            self.gradient[entry.range()].fill(0.0);
        }
    }

    fn gradient_norm(&self) -> f64 {
        squared_norm(&self.decoder.pool, &self.gradient).sqrt()
    }

    fn step(&mut self, optimizer: &AdamW, learning_rate: f32, clip: Option<f32>) -> Result<StepInfo> {
        let pool = Arc::clone(&self.decoder.pool);
        let decayed = self.decoder.decayed();
        let parameters = self.decoder.trainable_mut();
        let info =
            self.moments.step(&pool, optimizer, learning_rate, clip, parameters, &self.gradient, decayed)?;
        self.decoder.repack();
        Ok(info)
    }

    fn named_parameters(&self) -> Vec<NamedTensor<'_>> {
        self.named(self.decoder.trainable())
    }

    fn named_gradients(&self) -> Vec<NamedTensor<'_>> {
        self.named(&self.gradient)
    }

    fn optimizer_state(&self) -> OptimizerState<'_> {
        self.moments.state()
    }

    fn load_optimizer_state(&mut self, state: OptimizerState<'_>) -> Result<()> {
        self.moments.load(state, self.gradient.len())
    }

    fn load_parameters(&mut self, tensors: &[NamedTensor<'_>]) -> Result<()> {
        let entries = self.decoder.trainable_entries();
        let mut places = Vec::with_capacity(tensors.len());
        for tensor in tensors {
            let entry = entries.iter().find(|entry| entry.name == tensor.name);
            let entry = entry
                .ok_or_else(|| Error::Input(format!("no trainable tensor is called {}", tensor.name)))?;
            if tensor.data.len() != entry.len() {
                return Err(Error::Input(format!(
                    "{} has {} elements; expected {} ({:?})",
                    tensor.name,
                    tensor.data.len(),
                    entry.len(),
                    entry.shape
                )));
            }
            places.push(entry.range());
        }
        let flat = self.decoder.trainable_mut();
        for (place, tensor) in places.into_iter().zip(tensors) {
            flat[place].copy_from_slice(tensor.data);
        }
        self.decoder.repack();
        Ok(())
    }
}
