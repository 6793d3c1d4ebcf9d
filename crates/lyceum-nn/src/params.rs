//! Where every weight lies in the flat vector.
//!
//! All parameters of a model are one `[f32]`, the gradient another of the same length. A [`Layout`] maps the tensor
//! names of Hugging Face checkpoints to ranges of it. Matrices come first and vectors last, so that weight decay (on
//! matrices only) is one contiguous range. The rows of q, k and v of a layer are adjacent, and so are those of gate
//! and up: each group is one matrix of the fused product.

use crate::config::DecoderConfig;
use std::collections::HashMap;
use std::ops::Range;

/// One named tensor of the flat vector, row-major.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The tensor's name in a Hugging Face checkpoint, such as `model.layers.0.self_attn.q_proj.weight`.
    pub name: String,
    /// `[rows, columns]` of a matrix or `[length]` of a vector.
    pub shape: Vec<usize>,
    /// First element in the flat vector.
    pub offset: usize,
}

impl Entry {
    /// Number of elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether the tensor has no element.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The tensor's elements in the flat vector.
    pub fn range(&self) -> Range<usize> {
        self.offset..self.offset + self.len()
    }
}

/// A matrix of the flat vector: a linear layer's weight, `rows` outputs of `cols` inputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MatrixSpan {
    /// First element.
    pub offset: usize,
    /// Outputs of the linear layer.
    pub rows: usize,
    /// Inputs of the linear layer.
    pub cols: usize,
}

impl MatrixSpan {
    /// The matrix's elements in the flat vector.
    pub fn range(&self) -> Range<usize> {
        self.offset..self.offset + self.rows * self.cols
    }
}

/// The weights of one decoder layer; fused groups are one matrix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerSpans {
    /// RMS norm before attention, `[hidden]`.
    pub input_norm: Range<usize>,
    /// q, k, v rows: `[query_width + 2 kv_width, hidden]`.
    pub qkv: MatrixSpan,
    /// Biases of the same rows (Qwen2).
    pub qkv_bias: Option<Range<usize>>,
    /// RMS norm of each query head, `[head_dim]` (Qwen3).
    pub query_norm: Option<Range<usize>>,
    /// RMS norm of each key head, `[head_dim]` (Qwen3).
    pub key_norm: Option<Range<usize>>,
    /// `[hidden, query_width]`.
    pub output: MatrixSpan,
    /// RMS norm before the feed-forward layer, `[hidden]`.
    pub post_norm: Range<usize>,
    /// Gate rows, then up rows: `[2 intermediate, hidden]`.
    pub gate_up: MatrixSpan,
    /// `[hidden, intermediate]`.
    pub down: MatrixSpan,
}

/// The value head: `value = weight . hidden + bias`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValueSpans {
    /// `[hidden]` (the tensor's shape is `[1, hidden]`).
    pub weight: Range<usize>,
    /// One element.
    pub bias: usize,
}

/// Names, shapes and places of all parameters of a decoder.
#[derive(Debug, Clone)]
pub struct Layout {
    entries: Vec<Entry>,
    by_name: HashMap<String, usize>,
    matrices: usize,
    total: usize,
    /// Token embedding, `[vocab, hidden]`; also the head's matrix when tied.
    pub embedding: MatrixSpan,
    /// Decoder layers in order.
    pub layers: Vec<LayerSpans>,
    /// RMS norm before the head, `[hidden]`.
    pub final_norm: Range<usize>,
    /// The head's matrix, `[vocab, hidden]`; the embedding's when tied.
    pub head: MatrixSpan,
    /// The value head, if the model has one.
    pub value: Option<ValueSpans>,
}

/// Name of the value head's weight, `[1, hidden]`.
pub const VALUE_WEIGHT: &str = "value_head.weight";
/// Name of the value head's bias, `[1]`.
pub const VALUE_BIAS: &str = "value_head.bias";

/// Whether `name` is one of the value head's tensors, which checkpoints of language models do not have.
pub fn is_value_head(name: &str) -> bool {
    name == VALUE_WEIGHT || name == VALUE_BIAS
}

impl Layout {
    /// The layout of `config`'s parameters, with a value head's at the end of each part if `value_head`.
    pub fn new(config: &DecoderConfig, value_head: bool) -> Self {
        let (hidden, ffn) = (config.hidden_size, config.intermediate_size);
        let (query, kv) = (config.query_width(), config.kv_width());
        let mut plan = Plan::default();

        let embedding = plan.matrix("model.embed_tokens.weight", config.vocab_size, hidden);
        let head = if config.tied_embeddings {
            embedding
        } else {
            plan.matrix("lm_head.weight", config.vocab_size, hidden)
        };
        let matrices: Vec<[MatrixSpan; 4]> = (0..config.num_layers)
            .map(|layer| {
                let name = |part: &str| format!("model.layers.{layer}.{part}_proj.weight");
                let q = plan.matrix(&name("self_attn.q"), query, hidden);
                plan.matrix(&name("self_attn.k"), kv, hidden);
                plan.matrix(&name("self_attn.v"), kv, hidden);
                let output = plan.matrix(&name("self_attn.o"), hidden, query);
                let gate = plan.matrix(&name("mlp.gate"), ffn, hidden);
                plan.matrix(&name("mlp.up"), ffn, hidden);
                let down = plan.matrix(&name("mlp.down"), hidden, ffn);
                let qkv = MatrixSpan { rows: query + 2 * kv, ..q };
                let gate_up = MatrixSpan { rows: 2 * ffn, ..gate };
                [qkv, output, gate_up, down]
            })
            .collect();
        let value_weight = value_head.then(|| plan.matrix(VALUE_WEIGHT, 1, hidden));
        let matrix_elements = plan.total;

        let layers = matrices
            .into_iter()
            .enumerate()
            .map(|(layer, [qkv, output, gate_up, down])| {
                let name = |part: &str| format!("model.layers.{layer}.{part}");
                let input_norm = plan.vector(&name("input_layernorm.weight"), hidden);
                let post_norm = plan.vector(&name("post_attention_layernorm.weight"), hidden);
                let qkv_bias = config.qkv_bias().then(|| {
                    let q = plan.vector(&name("self_attn.q_proj.bias"), query);
                    plan.vector(&name("self_attn.k_proj.bias"), kv);
                    let v = plan.vector(&name("self_attn.v_proj.bias"), kv);
                    q.start..v.end
                });
                let mut head_norm =
                    |part: &str| config.qk_norm().then(|| plan.vector(&name(part), config.head_dim));
                let query_norm = head_norm("self_attn.q_norm.weight");
                let key_norm = head_norm("self_attn.k_norm.weight");
                LayerSpans {
                    input_norm,
                    qkv,
                    qkv_bias,
                    query_norm,
                    key_norm,
                    output,
                    post_norm,
                    gate_up,
                    down,
                }
            })
            .collect();
        let final_norm = plan.vector("model.norm.weight", hidden);
        let value = value_weight
            .map(|weight| ValueSpans { weight: weight.range(), bias: plan.vector(VALUE_BIAS, 1).start });

        let by_name = plan.entries.iter().enumerate().map(|(i, entry)| (entry.name.clone(), i)).collect();
        Self {
            entries: plan.entries,
            by_name,
            matrices: matrix_elements,
            total: plan.total,
            embedding,
            layers,
            final_norm,
            head,
            value,
        }
    }

    /// Number of parameters: the length of the flat vector.
    pub fn len(&self) -> usize {
        self.total
    }

    /// Whether there is no parameter (never, for a valid configuration).
    pub fn is_empty(&self) -> bool {
        self.total == 0
    }

    /// The range of all matrices, which weight decay applies to. The rest are norms and biases.
    pub fn matrices(&self) -> Range<usize> {
        0..self.matrices
    }

    /// All tensors in the order of the flat vector; together they cover it without gaps.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The tensor called `name`.
    pub fn entry(&self, name: &str) -> Option<&Entry> {
        self.by_name.get(name).map(|&i| &self.entries[i])
    }
}

/// The flat vector while it is being laid out.
#[derive(Default)]
struct Plan {
    entries: Vec<Entry>,
    total: usize,
}

impl Plan {
    fn push(&mut self, name: &str, shape: Vec<usize>) -> Range<usize> {
        let entry = Entry { name: name.to_owned(), shape, offset: self.total };
        let range = entry.range();
        self.total = range.end;
        self.entries.push(entry);
        range
    }

    fn matrix(&mut self, name: &str, rows: usize, cols: usize) -> MatrixSpan {
        let offset = self.push(name, vec![rows, cols]).start;
        MatrixSpan { offset, rows, cols }
    }

    fn vector(&mut self, name: &str, len: usize) -> Range<usize> {
        self.push(name, vec![len])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Family;
    use crate::presets::tiny_0_3m;

    #[test]
    fn entries_cover_the_vector_without_gaps() {
        for family in [Family::Llama, Family::Qwen2, Family::Qwen3] {
            let config = DecoderConfig { family, tied_embeddings: false, ..tiny_0_3m(50) };
            let layout = Layout::new(&config, false);
            let mut next = 0;
            for entry in layout.entries() {
                assert_eq!(entry.offset, next);
                next = entry.range().end;
                assert_eq!(layout.entry(&entry.name), Some(entry));
                assert_eq!(entry.shape.len() == 2, entry.range().end <= layout.matrices().end);
            }
            assert_eq!(next, layout.len());
            assert_eq!(layout.len(), config.parameter_count());
        }
    }

    #[test]
    fn fused_groups_are_their_parts_in_order() {
        let config = DecoderConfig { family: Family::Qwen2, num_kv_heads: 1, ..tiny_0_3m(50) };
        let layout = Layout::new(&config, true);
        let layer = &layout.layers[1];
        let parts = |names: [&str; 3], suffix: &str| {
            names.map(|n| layout.entry(&format!("model.layers.1.{n}_proj.{suffix}")).unwrap().range())
        };
        let [q, k, v] = parts(["self_attn.q", "self_attn.k", "self_attn.v"], "weight");
        assert_eq!((q.end, k.end), (k.start, v.start));
        assert_eq!(layer.qkv.range(), q.start..v.end);
        let [q, k, v] = parts(["self_attn.q", "self_attn.k", "self_attn.v"], "bias");
        assert_eq!((q.end, k.end), (k.start, v.start));
        assert_eq!(layer.qkv_bias, Some(q.start..v.end));
        assert_eq!(layout.len(), config.parameter_count() + config.hidden_size + 1);
    }
}
