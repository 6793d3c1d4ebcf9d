//! The decoder composed of candle operations: slow and clear, on any device candle has.
//!
//! On the CPU it is the oracle of [`KernelPolicy`](crate::decoder::KernelPolicy): the same seam, the same flat
//! parameters, another way through the mathematics, with candle's automatic differentiation instead of a backward by
//! hand. Parameters, gradient and moments live on the host; the device holds a copy of the parameters.

mod forward;

use crate::config::DecoderConfig;
use crate::decoder::Source;
use crate::optimizer::{AdamW, Moments, OptimizerState, StepInfo};
use crate::params::{Entry, Layout, is_value_head};
use crate::policy::{Batch, Input, NamedTensor, Policy, TokenGrads, TokenStats};
use crate::{Error, Result};
use candle_core::{Device, Tensor, Var};
use forward::{Forward, Outputs, Weights};
use lyceum_kernels::{Pool, squared_norm};

/// A decoder of the Llama family over candle, trainable in f32.
#[derive(Debug)]
pub struct ComposedPolicy {
    config: DecoderConfig,
    layout: Layout,
    device: Device,
    pool: Pool,
    flat: Vec<f32>,
    gradient: Vec<f32>,
    moments: Moments,
    weights: Weights,
    pending: Option<Pending>,
    input_gradient: Vec<f32>,
}

/// The graph of a forward whose backward has not come yet.
#[derive(Debug)]
struct Pending {
    targets: usize,
    /// `None` for a batch without targets.
    outputs: Option<Outputs>,
    /// The batch's rows if they came as embeddings.
    input: Option<Var>,
}

/// The device called `name`: "cpu", "cuda", "cuda:1", "metal".
///
/// # Errors
/// [`Error::Input`] for another name; [`Error::Candle`] if the program was built without it or it is not there.
pub fn device(name: &str) -> Result<Device> {
    let (kind, number) = name.split_once(':').unwrap_or((name, "0"));
    let number =
        number.parse().map_err(|_| Error::Input(format!("device {name:?}: {number:?} is no number")))?;
    match kind {
        "cpu" => Ok(Device::Cpu),
        "cuda" => Ok(Device::new_cuda(number)?),
        "metal" => Ok(Device::new_metal(number)?),
        _ => {
            Err(Error::Input(format!("no device is called {name:?}; there are cpu, cuda, cuda:N and metal")))
        }
    }
}

impl ComposedPolicy {
    /// A model whose tensors `source` gives; a value head starts at zero.
    ///
    /// # Errors
    /// [`Error::Config`] for a configuration that makes no model; whatever `source` returns; [`Error::Candle`].
    pub fn new(
        config: DecoderConfig,
        value_head: bool,
        device: Device,
        source: &mut Source<'_>,
    ) -> Result<Self> {
        config.validate()?;
        let layout = Layout::new(&config, value_head);
        let mut flat = vec![0.0; layout.len()];
        for entry in layout.entries().iter().filter(|entry| !is_value_head(&entry.name)) {
            source(entry, &mut flat[entry.range()])?;
        }
        let mut policy = Self {
            config,
            gradient: vec![0.0; layout.len()],
            layout,
            device,
            // candle has threads of its own; the pool serves the optimiser only.
            pool: Pool::new(1),
            flat,
            moments: Moments::default(),
            weights: Weights { variables: Vec::new() },
            pending: None,
            input_gradient: Vec::new(),
        };
        policy.upload()?;
        Ok(policy)
    }

    /// The gradient of the last backward by [`Input::Embeddings`]' rows; empty before.
    pub fn input_gradient(&self) -> &[f32] {
        &self.input_gradient
    }

    /// Brings the device's copy up to date with the flat vector.
    fn upload(&mut self) -> Result<()> {
        let variable = |entry: &Entry| {
            let tensor = Tensor::from_slice(&self.flat[entry.range()], entry.shape.as_slice(), &self.device)?;
            Ok(Var::from_tensor(&tensor)?)
        };
        self.weights.variables = self.layout.entries().iter().map(variable).collect::<Result<_>>()?;
        Ok(())
    }

    fn forward(&self, batch: &Batch) -> Result<(TokenStats, Pending)> {
        batch.validate(&self.config)?;
        let mut pending = Pending { targets: batch.targets.len(), outputs: None, input: None };
        if batch.targets.is_empty() {
            return Ok((TokenStats::default(), pending));
        }
        let Self { config, layout, weights, device, .. } = self;
        let forward = Forward { config, layout, weights, device };
        let mut embedded = forward.embed(batch)?;
        if matches!(batch.input, Input::Embeddings { .. }) {
            let input = Var::from_tensor(&embedded)?;
            embedded = input.as_tensor().clone();
            pending.input = Some(input);
        }
        let outputs = forward.run(batch, &embedded)?;
        let stats = TokenStats {
            logp: outputs.logp.to_vec1()?,
            entropy: outputs.entropy.to_vec1()?,
            value: outputs.value.as_ref().map_or(Ok(Vec::new()), Tensor::to_vec1)?,
        };
        pending.outputs = Some(outputs);
        Ok((stats, pending))
    }

    fn named<'a>(&'a self, flat: &'a [f32]) -> Vec<NamedTensor<'a>> {
        let view = |entry: &'a Entry| NamedTensor {
            name: &entry.name,
            shape: &entry.shape,
            data: &flat[entry.range()],
        };
        self.layout.entries().iter().map(view).collect()
    }
}

impl Pending {
    /// The loss whose derivatives by the outputs are `grads`: their inner product.
    fn loss(&self, grads: &TokenGrads, device: &Device) -> Result<Option<Tensor>> {
        let Some(outputs) = &self.outputs else { return Ok(None) };
        let parts = [
            ("logp", Some(&outputs.logp), &grads.logp),
            ("entropy", Some(&outputs.entropy), &grads.entropy),
            ("value", outputs.value.as_ref(), &grads.value),
        ];
        let mut loss: Option<Tensor> = None;
        for (name, output, derivatives) in parts {
            if derivatives.is_empty() {
                continue;
            }
            let (Some(output), true) = (output, derivatives.len() == self.targets) else {
                let (n, targets) = (derivatives.len(), self.targets);
                return Err(Error::Input(format!("{n} {name} derivatives for {targets} targets")));
            };
            let part = (output * Tensor::new(derivatives.as_slice(), device)?)?.sum_all()?;
            loss = Some(match loss {
                None => part,
                Some(others) => (others + part)?,
            });
        }
        Ok(loss)
    }
}

impl Policy for ComposedPolicy {
    fn config(&self) -> &DecoderConfig {
        &self.config
    }

    fn logprobs(&mut self, batch: &Batch) -> Result<TokenStats> {
        let (stats, pending) = self.forward(batch)?;
        self.pending = Some(pending);
        Ok(stats)
    }

    fn backward(&mut self, grads: &TokenGrads) -> Result<()> {
        let Some(pending) = &self.pending else {
            return Err(Error::Input("backward without a forward before it".into()));
        };
        let loss = pending.loss(grads, &self.device)?;
        let input = self.pending.take().and_then(|pending| pending.input);
        let Some(loss) = loss else { return Ok(()) };
        let gradients = loss.backward()?;
        for (entry, variable) in self.layout.entries().iter().zip(&self.weights.variables) {
            if let Some(gradient) = gradients.get(variable) {
                let values: Vec<f32> = gradient.flatten_all()?.to_vec1()?;
                self.gradient[entry.range()].iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
            }
        }
        let by_input = input.as_ref().and_then(|input| gradients.get(input));
        self.input_gradient = by_input.map_or(Ok(Vec::new()), |rows| rows.flatten_all()?.to_vec1())?;
        Ok(())
    }

    fn evaluate(&self, batch: &Batch) -> Result<TokenStats> {
        self.forward(batch).map(|(stats, _)| stats)
    }

    fn evaluate_base(&self, batch: &Batch) -> Result<TokenStats> {
        self.evaluate(batch)
    }

    fn weighted_likelihood(&mut self, batch: &Batch, weights: &[f32]) -> Result<TokenStats> {
        if weights.len() != batch.targets.len() {
            let targets = batch.targets.len();
            return Err(Error::Input(format!("{} weights for {targets} targets", weights.len())));
        }
        let stats = self.logprobs(batch)?;
        let logp = weights.iter().map(|weight| -weight).collect();
        self.backward(&TokenGrads { logp, ..TokenGrads::default() })?;
        Ok(stats)
    }

    fn zero_grad(&mut self) {
        self.gradient.fill(0.0);
    }

    fn keep_gradient(&mut self, keep: &dyn Fn(&str) -> bool) {
        for entry in self.layout.entries().iter().filter(|entry| !keep(&entry.name)) {
            self.gradient[entry.range()].fill(0.0);
        }
    }

    fn gradient_norm(&self) -> f64 {
        squared_norm(&self.pool, &self.gradient).sqrt()
    }

    fn step(&mut self, optimizer: &AdamW, learning_rate: f32, clip: Option<f32>) -> Result<StepInfo> {
        let decayed = self.layout.matrices();
        let Self { moments, pool, flat, gradient, .. } = self;
        let info = moments.step(pool, optimizer, learning_rate, clip, flat, gradient, decayed)?;
        self.upload()?;
        Ok(info)
    }

    fn named_parameters(&self) -> Vec<NamedTensor<'_>> {
        self.named(&self.flat)
    }

    fn named_gradients(&self) -> Vec<NamedTensor<'_>> {
        self.named(&self.gradient)
    }

    fn optimizer_state(&self) -> OptimizerState<'_> {
        self.moments.state()
    }

    fn load_optimizer_state(&mut self, state: OptimizerState<'_>) -> Result<()> {
        self.moments.load(state, self.flat.len())
    }

    fn load_parameters(&mut self, tensors: &[NamedTensor<'_>]) -> Result<()> {
        let place = |tensor: &NamedTensor<'_>| match self.layout.entry(tensor.name) {
            Some(entry) if entry.len() == tensor.data.len() => Ok(entry.range()),
            Some(entry) => {
                let (name, n, shape) = (tensor.name, tensor.data.len(), &entry.shape);
                Err(Error::Input(format!("{name} has {n} elements; expected shape {shape:?}")))
            }
            None => Err(Error::Input(format!("no trainable tensor is called {}", tensor.name))),
        };
        let places = tensors.iter().map(place).collect::<Result<Vec<_>>>()?;
        for (place, tensor) in places.into_iter().zip(tensors) {
            self.flat[place].copy_from_slice(tensor.data);
        }
        self.upload()
    }
}
