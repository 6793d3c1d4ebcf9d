//! One decoder layer, forward and backward, over all rows of a batch.
//!
//! Forward: `middle = x + attention(norm(x))`, `out = middle + feed_forward(norm(middle))`. Backward takes the
//! gradient of `out` and turns it, in place, into that of `x`.

use crate::decoder::activations::{BackwardScratch, SavedLayer, Scratch};
use crate::decoder::linear::{Linear, LinearGradient};
use crate::decoder::model::{Adapter, Decoder, Product};
use crate::params::{LayerSpans, MatrixSpan};
use lyceum_kernels::{
    HeadSpan, Heads, Mat, Pool, RopeTable, Rotation, Segment, add_bias, add_column_sums, add_scaled,
    attention_backward, attention_forward, rms_norm, rms_norm_backward, rms_norm_heads,
    rms_norm_heads_backward, rope, swiglu, swiglu_backward,
};
use std::ops::Range;

/// Which rows belong together, and where each stands.
#[derive(Clone, Copy)]
pub(crate) struct Geometry<'a> {
    pub(crate) segments: &'a [Segment],
    pub(crate) positions: &'a [u32],
    pub(crate) rope: &'a RopeTable,
}

/// A layer's weights with what every step of it needs.
#[derive(Clone, Copy)]
pub(crate) struct Layer<'a> {
    pub(crate) decoder: &'a Decoder,
    pub(crate) index: usize,
    pub(crate) adapter: Adapter,
}

impl<'a> Layer<'a> {
    fn pool(&self) -> &'a Pool {
        &self.decoder.pool
    }

    fn spans(&self) -> &'a LayerSpans {
        &self.decoder.layout.layers[self.index]
    }

    fn linear(&self, product: Product) -> Linear<'a> {
        self.decoder.linear(self.index, product, self.adapter)
    }

    fn epsilon(&self) -> f32 {
        self.decoder.config.rms_norm_eps as f32
    }

    /// Normalises `x` by the norm at `weight` into `normed`.
    pub(crate) fn norm(&self, x: &[f32], weight: &Range<usize>, normed: &mut [f32], inverse: &mut [f32]) {
        rms_norm(self.pool(), x, self.decoder.vector(weight), self.epsilon(), normed, inverse);
    }

    /// Queries, keys and values of the rows in `normed`, with their biases, as rows of `qkv`.
    pub(crate) fn project_qkv(&self, normed: Mat<'_>, qkv: &mut [f32], down: &mut Vec<f32>) {
        self.project(Product::Qkv, normed, qkv, down);
        if let Some(bias) = &self.spans().qkv_bias {
            add_bias(self.pool(), self.decoder.vector(bias), qkv);
        }
    }

    /// Norms the query and key heads if the model does (`raw` keeps what was there), then turns them.
    pub(crate) fn turn_heads(
        &self,
        qkv: &mut [f32],
        raw: &mut [f32],
        inverse: &mut [f32],
        positions: &[u32],
        table: &RopeTable,
    ) {
        if self.decoder.config.qk_norm() {
            raw.copy_from_slice(qkv);
            for (span, weight) in self.head_norms() {
                let inverse = &mut inverse[..positions.len() * span.heads];
                let weight = self.decoder.vector(weight);
                rms_norm_heads(self.pool(), span, raw, weight, self.epsilon(), qkv, inverse);
            }
        }
        rope(self.pool(), self.turned(), qkv, positions, table, Rotation::Forward);
    }

    /// `out = activation(gate_up) W_down^T`: the second half of feed-forward, from the projected `gate_up`.
    pub(crate) fn contract(
        &self,
        gate_up: &[f32],
        activated: &mut [f32],
        out: &mut [f32],
        down: &mut Vec<f32>,
    ) {
        let ffn = self.decoder.config.intermediate_size;
        swiglu(self.pool(), ffn, gate_up, activated);
        self.project(Product::Down, Mat::f32(activated, activated.len() / ffn, ffn), out, down);
    }

    /// `out = x W^T` for one of the layer's products.
    pub(crate) fn project(&self, product: Product, x: Mat<'_>, out: &mut [f32], down: &mut Vec<f32>) {
        self.linear(product).forward(self.pool(), x, out, down);
    }

    /// Query and key heads with the weights of their norms.
    fn head_norms(&self) -> impl Iterator<Item = (HeadSpan, &'a Range<usize>)> {
        let spans = self.spans();
        let [query, key] = head_spans(self.decoder);
        [(query, spans.query_norm.as_ref()), (key, spans.key_norm.as_ref())]
            .into_iter()
            .filter_map(|(heads, weight)| Some((heads, weight?)))
    }

    /// The heads that rope turns: queries and keys, which are adjacent.
    fn turned(&self) -> HeadSpan {
        let [query, key] = head_spans(self.decoder);
        HeadSpan { heads: query.heads + key.heads, ..query }
    }

    /// `middle = x + attention(norm(x))`.
    pub(crate) fn attend(
        &self,
        geometry: Geometry<'_>,
        x: &[f32],
        middle: &mut [f32],
        scratch: &mut Scratch,
        saved: &mut SavedLayer,
    ) {
        let config = &self.decoder.config;
        let (rows, hidden, query) = (geometry.positions.len(), config.hidden_size, config.query_width());
        let width = query + 2 * config.kv_width();
        let Scratch { normed, inverse, raw_qkv, attended, .. } = scratch;
        let (qkv, attended) = (&mut saved.qkv[..rows * width], &mut attended[..rows * query]);
        let normed = &mut normed[..rows * hidden];
        let raw_qkv = if config.qk_norm() { &mut raw_qkv[..rows * width] } else { &mut [] };
        let down = &mut saved.down;

        self.norm(x, &self.spans().input_norm, normed, &mut inverse[..rows]);
        self.project_qkv(Mat::f32(normed, rows, hidden), qkv, &mut down[Product::Qkv as usize]);
        self.turn_heads(qkv, raw_qkv, inverse, geometry.positions, geometry.rope);
        saved.raw_qkv.put(self.pool(), 0, raw_qkv);
        let lse = &mut saved.lse[..rows * config.num_heads];
        attention_forward(self.pool(), heads(self.decoder), geometry.segments, qkv, attended, lse);
        saved.attended.put(self.pool(), 0, attended);
        let attended = Mat::f32(attended, rows, query);
        self.project(Product::Output, attended, middle, &mut down[Product::Output as usize]);
        add_scaled(self.pool(), 1.0, x, middle);
    }

    /// `out = middle + feed_forward(norm(middle))`.
    pub(crate) fn feed_forward(
        &self,
        middle: &[f32],
        out: &mut [f32],
        scratch: &mut Scratch,
        saved: &mut SavedLayer,
    ) {
        let config = &self.decoder.config;
        let (hidden, ffn) = (config.hidden_size, config.intermediate_size);
        let rows = middle.len() / hidden;
        let Scratch { normed, inverse, gate_up, activated, .. } = scratch;
        let (normed, gate_up) = (&mut normed[..rows * hidden], &mut gate_up[..rows * 2 * ffn]);
        let down = &mut saved.down;

        self.norm(middle, &self.spans().post_norm, normed, &mut inverse[..rows]);
        let normed = Mat::f32(normed, rows, hidden);
        self.project(Product::GateUp, normed, gate_up, &mut down[Product::GateUp as usize]);
        saved.gate_up.put(self.pool(), 0, gate_up);
        let activated = &mut activated[..rows * ffn];
        self.contract(gate_up, activated, out, &mut down[Product::Down as usize]);
        add_scaled(self.pool(), 1.0, middle, out);
    }

    /// Turns `back.d_residual`, the gradient of the layer's output, into that of `middle`.
    pub(crate) fn feed_forward_backward(
        &self,
        middle: &[f32],
        saved: &SavedLayer,
        scratch: &mut Scratch,
        back: &mut BackwardScratch,
        gradient: &mut [f32],
    ) {
        let config = &self.decoder.config;
        let (hidden, ffn) = (config.hidden_size, config.intermediate_size);
        let rows = middle.len() / hidden;
        let (pool, spans) = (self.pool(), self.spans());
        let Scratch { normed, inverse, gate_up, activated, .. } = scratch;
        let BackwardScratch { d_residual, d_normed, d_activated, d_down, discarded, .. } = back;
        let (normed, inverse) = (&mut normed[..rows * hidden], &mut inverse[..rows]);
        let (gate_up, activated) = (&mut gate_up[..rows * 2 * ffn], &mut activated[..rows * ffn]);
        let (d_residual, d_normed) = (&mut d_residual[..rows * hidden], &mut d_normed[..rows * hidden]);
        let d_activated = &mut d_activated[..rows * ffn];

        saved.gate_up.get(pool, 0, gate_up);
        swiglu(pool, ffn, gate_up, activated);
        let activated = Mat::f32(activated, rows, ffn);
        let sink = self.gradient_of(spans.down, gradient);
        let down = &saved.down[Product::Down as usize];
        self.linear(Product::Down).backward(pool, activated, down, d_residual, d_activated, sink, d_down);
        swiglu_backward(pool, ffn, gate_up, d_activated);
        self.norm(middle, &spans.post_norm, normed, inverse);
        let normed = Mat::f32(normed, rows, hidden);
        let sink = self.gradient_of(spans.gate_up, gradient);
        let down = &saved.down[Product::GateUp as usize];
        self.linear(Product::GateUp).backward(pool, normed, down, gate_up, d_normed, sink, d_down);
        let d_weight = self.vector_gradient(&spans.post_norm, gradient, discarded);
        rms_norm_backward(
            pool,
            middle,
            self.decoder.vector(&spans.post_norm),
            inverse,
            d_normed,
            d_residual,
            d_weight,
        );
    }

    /// Turns `back.d_residual`, the gradient of `middle`, into that of the layer's input `x`.
    pub(crate) fn attend_backward(
        &self,
        geometry: Geometry<'_>,
        x: &[f32],
        saved: &SavedLayer,
        scratch: &mut Scratch,
        back: &mut BackwardScratch,
        gradient: &mut [f32],
    ) {
        let config = &self.decoder.config;
        let (rows, hidden, query) = (geometry.positions.len(), config.hidden_size, config.query_width());
        let width = query + 2 * config.kv_width();
        let (pool, spans) = (self.pool(), self.spans());
        let Scratch { normed, inverse, qkv, raw_qkv, attended, .. } = scratch;
        let BackwardScratch { d_residual, d_normed, d_qkv, d_attended, d_down, discarded, .. } = back;
        let attended = &mut attended[..rows * query];
        let (d_residual, d_normed) = (&mut d_residual[..rows * hidden], &mut d_normed[..rows * hidden]);
        let (d_qkv, d_attended) = (&mut d_qkv[..rows * width], &mut d_attended[..rows * query]);
        let normed = &mut normed[..rows * hidden];
        let raw_qkv = if config.qk_norm() { &mut raw_qkv[..rows * width] } else { &mut [] };

        let sink = self.gradient_of(spans.output, gradient);
        let (operand, down) = (saved.attended.mat(rows, query), &saved.down[Product::Output as usize]);
        self.linear(Product::Output).backward(pool, operand, down, d_residual, d_attended, sink, d_down);

        saved.attended.get(pool, 0, attended);
        let (seen, lse) = (&saved.qkv[..rows * width], &saved.lse[..rows * config.num_heads]);
        attention_backward(
            pool,
            heads(self.decoder),
            geometry.segments,
            seen,
            attended,
            lse,
            d_attended,
            d_qkv,
        );
        rope(pool, self.turned(), d_qkv, geometry.positions, geometry.rope, Rotation::Inverse);
        saved.raw_qkv.get(pool, 0, raw_qkv);
        for (span, weight) in self.head_norms() {
            let inverse = &mut inverse[..rows * span.heads];
            let values = self.decoder.vector(weight);
            // The forward again, for the inverse roots alone.
            rms_norm_heads(pool, span, raw_qkv, values, self.epsilon(), &mut qkv[..rows * width], inverse);
            let d_weight = self.vector_gradient(weight, gradient, discarded);
            rms_norm_heads_backward(pool, span, raw_qkv, values, inverse, d_qkv, d_weight);
        }
        if let (Some(bias), true) = (&spans.qkv_bias, self.decoder.trains_base()) {
            add_column_sums(pool, d_qkv, &mut gradient[bias.clone()]);
        }

        let inverse = &mut inverse[..rows];
        self.norm(x, &spans.input_norm, normed, inverse);
        let normed = Mat::f32(normed, rows, hidden);
        let sink = self.gradient_of(spans.qkv, gradient);
        let down = &saved.down[Product::Qkv as usize];
        self.linear(Product::Qkv).backward(pool, normed, down, d_qkv, d_normed, sink, d_down);
        let d_weight = self.vector_gradient(&spans.input_norm, gradient, discarded);
        rms_norm_backward(
            pool,
            x,
            self.decoder.vector(&spans.input_norm),
            inverse,
            d_normed,
            d_residual,
            d_weight,
        );
    }

    /// Where the gradient of the product at `span` goes.
    fn gradient_of<'g>(&self, span: MatrixSpan, gradient: &'g mut [f32]) -> LinearGradient<'g> {
        self.decoder.gradient_of(span, gradient)
    }

    /// Where the gradient of a norm goes: to `discarded` if it is frozen.
    fn vector_gradient<'g>(
        &self,
        weight: &Range<usize>,
        gradient: &'g mut [f32],
        discarded: &'g mut [f32],
    ) -> &'g mut [f32] {
        if self.decoder.trains_base() {
            &mut gradient[weight.clone()]
        } else {
            &mut discarded[..weight.len()]
        }
    }
}

/// Query and key heads within a row of queries, keys and values.
fn head_spans(decoder: &Decoder) -> [HeadSpan; 2] {
    let config = &decoder.config;
    let stride = config.query_width() + 2 * config.kv_width();
    let query = HeadSpan { stride, offset: 0, heads: config.num_heads, dim: config.head_dim };
    [query, HeadSpan { offset: config.query_width(), heads: config.num_kv_heads, ..query }]
}

/// The heads as attention counts them.
pub(crate) fn heads(decoder: &Decoder) -> Heads {
    let config = &decoder.config;
    Heads { query: config.num_heads, kv: config.num_kv_heads, dim: config.head_dim }
}
