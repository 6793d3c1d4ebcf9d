//! Low-rank adapters: `y = x W^T + (alpha / r) x A^T B^T` with W frozen.
//!
//! Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models" (2021), equation 3. All adapters of a model are
//! one flat vector of their own, with the tensor names of PEFT less its `base_model.model.` prefix. Where several
//! linear layers are one fused product (q, k, v; gate, up), the A of the adapted ones are adjacent rows of one
//! matrix, and their B are the blocks of one block-diagonal matrix: an adapted product is two small extra ones.

use crate::config::DecoderConfig;
use crate::params::{Entry, VALUE_BIAS, VALUE_WEIGHT, ValueSpans};
use crate::{Error, Result};
use lyceum_kernels::{Mat, Packed, Pool, Precision};
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// Every linear layer a decoder has, by the names PEFT uses in `target_modules`.
pub const LINEAR_LAYERS: [&str; 8] =
    ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj", "lm_head"];

/// What to adapt, and how strongly. Dropout is not offered: it would make the policy differ from its sampler.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LoraConfig {
    /// Rank r of every adapter.
    pub rank: usize,
    /// Scale: the adapter's output is multiplied by `alpha / rank`.
    pub alpha: f32,
    /// Linear layers to adapt, of [`LINEAR_LAYERS`].
    pub targets: Vec<String>,
}

impl LoraConfig {
    /// Rank `rank`, alpha twice that, on all linear layers of the blocks (not the head).
    pub fn all_linear(rank: usize) -> Self {
        let targets = LINEAR_LAYERS.iter().filter(|&&name| name != "lm_head");
        Self { rank, alpha: 2.0 * rank as f32, targets: targets.map(|&name| name.to_owned()).collect() }
    }

    /// The factor of the adapter's output.
    pub fn scale(&self) -> f32 {
        self.alpha / self.rank as f32
    }

    /// # Errors
    /// [`Error::Input`] for rank 0, a scale that is no number, no targets, or a target no decoder has.
    pub fn validate(&self) -> Result<()> {
        if self.rank == 0 || !self.scale().is_finite() {
            return Err(Error::Input(format!("LoRA of rank {} and alpha {}", self.rank, self.alpha)));
        }
        if let Some(name) = self.targets.iter().find(|name| !LINEAR_LAYERS.contains(&name.as_str())) {
            return Err(Error::Input(format!(
                "LoRA target {name:?} is no linear layer; there are {}",
                LINEAR_LAYERS.join(", ")
            )));
        }
        if self.targets.is_empty() {
            return Err(Error::Input("LoRA without targets trains nothing; name some linear layers".into()));
        }
        Ok(())
    }
}

/// One adapted linear layer within a fused product.
#[derive(Debug, Clone)]
pub(crate) struct Part {
    /// Its outputs, as columns of the fused product.
    pub(crate) outputs: Range<usize>,
    /// B, `[outputs, rank]`, in the flat vector.
    pub(crate) b: Range<usize>,
}

/// The adapters of one fused product.
#[derive(Debug, Clone)]
pub(crate) struct Group {
    pub(crate) parts: Vec<Part>,
    /// The stacked A, `[parts * rank, inputs]`, in the flat vector.
    pub(crate) a: Range<usize>,
    pub(crate) rank: usize,
    pub(crate) inputs: usize,
    /// Outputs of the whole fused product.
    pub(crate) outputs: usize,
}

impl Group {
    /// Rows of the stacked A: the width of what lies between A and B.
    pub(crate) fn inner(&self) -> usize {
        self.parts.len() * self.rank
    }
}

/// Names, shapes and places of all adapter tensors.
#[derive(Debug, Clone)]
pub struct LoraLayout {
    entries: Vec<Entry>,
    total: usize,
    /// Per layer: qkv, output, gate and up, down; last the head's.
    pub(crate) groups: Vec<Option<Group>>,
    pub(crate) value: Option<ValueSpans>,
}

impl LoraLayout {
    /// The layout for `lora` on a model of `config`; a value head's weights come last.
    pub fn new(config: &DecoderConfig, lora: &LoraConfig, value_head: bool) -> Self {
        let (hidden, ffn) = (config.hidden_size, config.intermediate_size);
        let (query, kv) = (config.query_width(), config.kv_width());
        let mut layout = Self { entries: Vec::new(), total: 0, groups: Vec::new(), value: None };
        for layer in 0..config.num_layers {
            let prefix = format!("model.layers.{layer}.");
            let fused: [(usize, &[(&str, usize)]); 4] = [
                (hidden, &[("self_attn.q_proj", query), ("self_attn.k_proj", kv), ("self_attn.v_proj", kv)]),
                (query, &[("self_attn.o_proj", hidden)]),
                (hidden, &[("mlp.gate_proj", ffn), ("mlp.up_proj", ffn)]),
                (ffn, &[("mlp.down_proj", hidden)]),
            ];
            for (inputs, members) in fused {
                layout.push_group(lora, &prefix, inputs, members);
            }
        }
        layout.push_group(lora, "", hidden, &[("lm_head", config.vocab_size)]);
        if value_head {
            let weight = layout.push(VALUE_WEIGHT.into(), vec![1, hidden]);
            let bias = layout.push(VALUE_BIAS.into(), vec![1]).start;
            layout.value = Some(ValueSpans { weight, bias });
        }
        layout
    }

    fn push(&mut self, name: String, shape: Vec<usize>) -> Range<usize> {
        let entry = Entry { name, shape, offset: self.total };
        let range = entry.range();
        self.total = range.end;
        self.entries.push(entry);
        range
    }

    fn push_group(&mut self, lora: &LoraConfig, prefix: &str, inputs: usize, members: &[(&str, usize)]) {
        let wanted =
            |name: &str| lora.targets.iter().any(|target| Some(target.as_str()) == name.rsplit('.').next());
        let start = self.total;
        for (name, _) in members.iter().filter(|(name, _)| wanted(name)) {
            self.push(format!("{prefix}{name}.lora_A.weight"), vec![lora.rank, inputs]);
        }
        let a = start..self.total;
        let mut parts = Vec::new();
        let mut first = 0;
        for &(name, outputs) in members {
            if wanted(name) {
                let b = self.push(format!("{prefix}{name}.lora_B.weight"), vec![outputs, lora.rank]);
                parts.push(Part { outputs: first..first + outputs, b });
            }
            first += outputs;
        }
        let group = Group { parts, a, rank: lora.rank, inputs, outputs: first };
        self.groups.push((!group.parts.is_empty()).then_some(group));
    }

    /// All tensors in the order of the flat vector.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Number of trainable elements.
    pub fn len(&self) -> usize {
        self.total
    }

    /// Whether nothing is adapted.
    pub fn is_empty(&self) -> bool {
        self.total == 0
    }

    /// PEFT's start: A uniform within `1 / sqrt(inputs)` (Kaiming with a = sqrt 5), B zero, the value head zero.
    pub(crate) fn initialise(&self, flat: &mut [f32], random: &mut ChaCha8Rng) {
        flat.fill(0.0);
        for group in self.groups.iter().flatten() {
            let bound = 1.0 / (group.inputs as f32).sqrt();
            flat[group.a.clone()].fill_with(|| random.random_range(-bound..bound));
        }
    }
}

/// The two small factors of an adapted product, packed.
#[derive(Debug)]
pub(crate) struct PackedGroup {
    /// Stacked A: inputs -> inner.
    pub(crate) a: Packed,
    /// Block-diagonal B: inner -> outputs.
    pub(crate) b: Packed,
}

impl PackedGroup {
    pub(crate) fn pack(pool: &Pool, precision: Precision, group: &Group, flat: &[f32]) -> Self {
        let a = Mat::f32(&flat[group.a.clone()], group.inner(), group.inputs);
        let blocks = block_diagonal(group, flat);
        let b = Mat::f32(&blocks, group.outputs, group.inner());
        Self { a: Packed::pack(pool, precision, a), b: Packed::pack(pool, precision, b) }
    }

    pub(crate) fn repack(&mut self, pool: &Pool, group: &Group, flat: &[f32]) {
        self.a.repack(pool, Mat::f32(&flat[group.a.clone()], group.inner(), group.inputs));
        let blocks = block_diagonal(group, flat);
        self.b.repack(pool, Mat::f32(&blocks, group.outputs, group.inner()));
    }
}

fn block_diagonal(group: &Group, flat: &[f32]) -> Vec<f32> {
    let (inner, rank) = (group.inner(), group.rank);
    let mut blocks = vec![0.0; group.outputs * inner];
    for (index, part) in group.parts.iter().enumerate() {
        let rows = part.outputs.clone().zip(flat[part.b.clone()].chunks_exact(rank));
        for (output, row) in rows {
            let start = output * inner + index * rank;
            blocks[start..start + rank].copy_from_slice(row);
        }
    }
    blocks
}
