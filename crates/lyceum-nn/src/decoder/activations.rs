//! The buffers of forward and backward: planned once for a number of rows, used again every step.

use crate::config::DecoderConfig;
use crate::decoder::store::Store;
use lyceum_kernels::{HugeVec, Precision};

/// What backward needs of one layer besides the layer's input.
///
/// Operands of products are kept in the products' precision. Norms and SwiGLU are cheap and are done again.
#[derive(Debug)]
pub(crate) struct SavedLayer {
    /// Queries, keys and values as attention saw them, in f32: rounded ones would give backward other probabilities
    /// than those behind `lse`.
    pub(crate) qkv: HugeVec<f32>,
    /// As projected, before head norms and rope; empty for models without head norms.
    pub(crate) raw_qkv: Store,
    /// Attention's output, before its projection.
    pub(crate) attended: Store,
    /// Log of attention's normaliser, rows x heads.
    pub(crate) lse: HugeVec<f32>,
    /// The residual stream between attention and feed-forward.
    pub(crate) middle: HugeVec<f32>,
    /// Gate and up as projected.
    pub(crate) gate_up: Store,
    /// Between the adapters' factors, of each product; empty without an adapter.
    pub(crate) down: [Vec<f32>; 4],
}

impl SavedLayer {
    pub(crate) fn new(config: &DecoderConfig, precision: Precision, rows: usize) -> Self {
        let (query, kv) = (config.query_width(), config.kv_width());
        Self {
            qkv: HugeVec::zeroed(rows * (query + 2 * kv)),
            raw_qkv: Store::zeroed(precision, if config.qk_norm() { rows * (query + 2 * kv) } else { 0 }),
            attended: Store::zeroed(precision, rows * query),
            lse: HugeVec::zeroed(rows * config.num_heads),
            middle: HugeVec::zeroed(rows * config.hidden_size),
            gate_up: Store::zeroed(precision, rows * 2 * config.intermediate_size),
            down: Default::default(),
        }
    }
}

/// Everything a forward leaves for its backward.
#[derive(Debug)]
pub(crate) struct Tape {
    /// The residual stream before each layer and after the last: layers + 1 of rows x hidden.
    pub(crate) residual: Vec<HugeVec<f32>>,
    /// One a layer; a single one, recomputed in backward, under activation checkpointing.
    pub(crate) layers: Vec<SavedLayer>,
}

impl Tape {
    pub(crate) fn new(
        config: &DecoderConfig,
        precision: Precision,
        rows: usize,
        checkpointing: bool,
    ) -> Self {
        let saved = if checkpointing { 1 } else { config.num_layers };
        Self {
            residual: (0..=config.num_layers).map(|_| HugeVec::zeroed(rows * config.hidden_size)).collect(),
            layers: (0..saved).map(|_| SavedLayer::new(config, precision, rows)).collect(),
        }
    }

    /// Whether layers are recomputed in backward.
    pub(crate) fn checkpointing(&self) -> bool {
        self.layers.len() + 1 < self.residual.len()
    }
}

/// Room for the layer being computed.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    /// Rows there is room for.
    pub(crate) capacity: usize,
    /// A norm's output, rows x hidden.
    pub(crate) normed: HugeVec<f32>,
    /// Inverse root mean squares of a norm's rows, rows x max(1, heads).
    pub(crate) inverse: HugeVec<f32>,
    /// rows x (query + 2 kv): projected, then roped.
    pub(crate) qkv: HugeVec<f32>,
    /// As `qkv`, before head norms; empty for models without them.
    pub(crate) raw_qkv: HugeVec<f32>,
    /// rows x query.
    pub(crate) attended: HugeVec<f32>,
    /// rows x 2 intermediate.
    pub(crate) gate_up: HugeVec<f32>,
    /// rows x intermediate.
    pub(crate) activated: HugeVec<f32>,
    /// Between an adapter's factors.
    pub(crate) down: Vec<f32>,
}

impl Scratch {
    pub(crate) fn new(config: &DecoderConfig, rows: usize) -> Self {
        let (query, kv) = (config.query_width(), config.kv_width());
        let qkv = rows * (query + 2 * kv);
        Self {
            capacity: rows,
            normed: HugeVec::zeroed(rows * config.hidden_size),
            inverse: HugeVec::zeroed(rows * config.num_heads),
            qkv: HugeVec::zeroed(qkv),
            raw_qkv: HugeVec::zeroed(if config.qk_norm() { qkv } else { 0 }),
            attended: HugeVec::zeroed(rows * query),
            gate_up: HugeVec::zeroed(rows * 2 * config.intermediate_size),
            activated: HugeVec::zeroed(rows * config.intermediate_size),
            down: Vec::new(),
        }
    }
}

/// Room for the gradients that pass through a layer.
#[derive(Debug)]
pub(crate) struct BackwardScratch {
    /// The residual stream's gradient, rows x hidden.
    pub(crate) d_residual: HugeVec<f32>,
    /// Of a norm's output, rows x hidden.
    pub(crate) d_normed: HugeVec<f32>,
    /// rows x (query + 2 kv).
    pub(crate) d_qkv: HugeVec<f32>,
    /// rows x query.
    pub(crate) d_attended: HugeVec<f32>,
    /// rows x intermediate.
    pub(crate) d_activated: HugeVec<f32>,
    /// Of what lies between an adapter's factors.
    pub(crate) d_down: Vec<f32>,
    /// Where the gradients of frozen norms and biases go.
    pub(crate) discarded: Vec<f32>,
}

impl BackwardScratch {
    pub(crate) fn new(config: &DecoderConfig, rows: usize) -> Self {
        let (query, kv) = (config.query_width(), config.kv_width());
        Self {
            d_residual: HugeVec::zeroed(rows * config.hidden_size),
            d_normed: HugeVec::zeroed(rows * config.hidden_size),
            d_qkv: HugeVec::zeroed(rows * (query + 2 * kv)),
            d_attended: HugeVec::zeroed(rows * query),
            d_activated: HugeVec::zeroed(rows * config.intermediate_size),
            d_down: Vec::new(),
            discarded: vec![0.0; config.hidden_size.max(config.head_dim)],
        }
    }
}
