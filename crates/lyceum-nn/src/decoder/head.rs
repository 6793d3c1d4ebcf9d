//! The last norm, the head and the value head, at target rows only.
//!
//! Logits exist for a chunk of targets at a time. For a later backward they are kept when they fit a budget and
//! computed again when they do not.

use crate::decoder::model::{Adapter, Decoder};
use crate::policy::{Batch, TokenGrads, TokenStats};
use lyceum_kernels::{
    HugeVec, Mat, embedding_gather, embedding_scatter_add, logit_gradient, logit_statistics, rms_norm,
    rms_norm_backward,
};
use std::ops::Range;

/// What the head keeps between forward and backward, one row a target.
#[derive(Debug, Default)]
pub(crate) struct HeadTape {
    rows: Vec<u32>,
    tokens: Vec<u32>,
    /// Targets x hidden: the residual stream at the targets' rows.
    stream: HugeVec<f32>,
    /// Targets x hidden: the same, normalised.
    normed: HugeVec<f32>,
    inverse: Vec<f32>,
    lse: Vec<f32>,
    scale: f32,
    stats: TokenStats,
    /// Targets x vocabulary, or room for one chunk.
    logits: HugeVec<f32>,
    kept: bool,
    d_normed: HugeVec<f32>,
    d_stream: HugeVec<f32>,
    /// Between the factors of the head's adapter, for the chunk at hand.
    down: Vec<f32>,
    d_down: Vec<f32>,
}

/// Makes `room` at least `len` long.
fn reserve(room: &mut HugeVec<f32>, len: usize) {
    if room.len() < len {
        // The old room goes first, so that both are never held.
        *room = HugeVec::default();
        *room = HugeVec::zeroed(len);
    }
}

impl HeadTape {
    /// Number of targets.
    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Gathers and normalises the hidden states that predict.
    pub(crate) fn enter(&mut self, decoder: &Decoder, batch: &Batch, stream: &[f32]) {
        let hidden = decoder.config.hidden_size;
        let targets = batch.targets.len();
        self.rows.clear();
        self.rows.extend(batch.targets.iter().map(|target| target.row));
        self.tokens.clear();
        self.tokens.extend(batch.targets.iter().map(|target| target.token));
        self.scale = batch.temperature.recip();
        for room in [&mut self.inverse, &mut self.lse, &mut self.stats.logp, &mut self.stats.entropy] {
            room.resize(targets, 0.0);
        }
        reserve(&mut self.stream, targets * hidden);
        reserve(&mut self.normed, targets * hidden);
        self.kept = false;
        if targets == 0 {
            self.stats = TokenStats::default();
            return;
        }
        let len = targets * hidden;
        embedding_gather(&decoder.pool, hidden, stream, &self.rows, &mut self.stream[..len]);
        let weight = decoder.vector(&decoder.layout.final_norm);
        let epsilon = decoder.config.rms_norm_eps as f32;
        rms_norm(
            &decoder.pool,
            &self.stream[..len],
            weight,
            epsilon,
            &mut self.normed[..len],
            &mut self.inverse,
        );
        self.stats.value.clear();
        if let Some((weight, bias)) = decoder.value_head() {
            let value = |row: &[f32]| bias + row.iter().zip(weight).map(|(x, w)| x * w).sum::<f32>();
            self.stats.value.extend(self.normed[..len].chunks_exact(hidden).map(value));
        }
    }

    /// Statistics of all targets, `chunk` at a time; keeps the logits if they take at most `budget` bytes.
    pub(crate) fn forward(
        &mut self,
        decoder: &Decoder,
        adapter: Adapter,
        chunk: usize,
        budget: usize,
    ) -> TokenStats {
        let vocab = decoder.config.vocab_size;
        let targets = self.len();
        self.kept = targets.saturating_mul(vocab).saturating_mul(size_of::<f32>()) <= budget;
        reserve(&mut self.logits, vocab * if self.kept { targets } else { targets.min(chunk) });
        for range in chunks(targets, chunk) {
            self.statistics(decoder, adapter, range);
        }
        self.stats.clone()
    }

    /// Computes the logits of the targets in `range` and their statistics; returns where the logits are.
    fn statistics(&mut self, decoder: &Decoder, adapter: Adapter, range: Range<usize>) -> Range<usize> {
        let place = self.logits(decoder, adapter, range.clone());
        logit_statistics(
            &decoder.pool,
            &self.logits[place.clone()],
            self.scale,
            &self.tokens[range.clone()],
            &mut self.lse[range.clone()],
            &mut self.stats.logp[range.clone()],
            &mut self.stats.entropy[range],
        );
        place
    }

    fn logits(&mut self, decoder: &Decoder, adapter: Adapter, range: Range<usize>) -> Range<usize> {
        let (vocab, hidden) = (decoder.config.vocab_size, decoder.config.hidden_size);
        let place = self.place(vocab, &range);
        let x = Mat::f32(&self.normed[range.start * hidden..], range.len(), hidden);
        decoder.head(adapter).forward(&decoder.pool, x, &mut self.logits[place.clone()], &mut self.down);
        place
    }

    /// Where the logits of the targets in `range` lie.
    fn place(&self, vocab: usize, range: &Range<usize>) -> Range<usize> {
        if self.kept { range.start * vocab..range.end * vocab } else { 0..range.len() * vocab }
    }

    /// Backward of [`forward`](Self::forward): adds to `gradient`, and writes the gradient of the whole residual
    /// stream to `d_stream`. Consumes the logits.
    pub(crate) fn backward(
        &mut self,
        decoder: &Decoder,
        chunk: usize,
        grads: &TokenGrads,
        d_stream: &mut [f32],
        gradient: &mut [f32],
    ) {
        let room = self.len() * decoder.config.hidden_size;
        reserve(&mut self.d_normed, room);
        for range in chunks(self.len(), chunk) {
            let place = if self.kept {
                self.place(decoder.config.vocab_size, &range)
            } else {
                self.logits(decoder, Adapter::On, range.clone())
            };
            self.chunk_backward(decoder, range, place, &grads.logp, &grads.entropy, gradient);
        }
        self.finish_backward(decoder, &grads.value, d_stream, gradient);
    }

    /// Forward and backward in one, for the loss `sum(d_logp * logp)`: logits live for a chunk only.
    pub(crate) fn forward_backward(
        &mut self,
        decoder: &Decoder,
        chunk: usize,
        d_logp: &[f32],
        d_stream: &mut [f32],
        gradient: &mut [f32],
    ) -> TokenStats {
        self.kept = false;
        let room = decoder.config.vocab_size * self.len().min(chunk);
        reserve(&mut self.logits, room);
        let room = self.len() * decoder.config.hidden_size;
        reserve(&mut self.d_normed, room);
        for range in chunks(self.len(), chunk) {
            let place = self.statistics(decoder, Adapter::On, range.clone());
            self.chunk_backward(decoder, range, place, d_logp, &[], gradient);
        }
        self.finish_backward(decoder, &[], d_stream, gradient);
        self.stats.clone()
    }

    /// Turns the logits at `place` into their gradient, and that into the hidden states' and the head's.
    fn chunk_backward(
        &mut self,
        decoder: &Decoder,
        range: Range<usize>,
        place: Range<usize>,
        d_logp: &[f32],
        d_entropy: &[f32],
        gradient: &mut [f32],
    ) {
        let hidden = decoder.config.hidden_size;
        let part = |d: &'_ [f32]| if d.is_empty() { 0..0 } else { range.clone() };
        let logits = &mut self.logits[place];
        logit_gradient(
            &decoder.pool,
            logits,
            self.scale,
            &self.tokens[range.clone()],
            &self.lse[range.clone()],
            &self.stats.entropy[range.clone()],
            &d_logp[part(d_logp)],
            &d_entropy[part(d_entropy)],
        );
        let elements = range.start * hidden..range.end * hidden;
        let x = Mat::f32(&self.normed[elements.clone()], range.len(), hidden);
        let sink = decoder.gradient_of(decoder.layout.head, gradient);
        let d_normed = &mut self.d_normed[elements];
        let head = decoder.head(Adapter::On);
        // Kept logits are older than the last chunk's `down`.
        head.descend(&decoder.pool, x, &mut self.down);
        head.backward(&decoder.pool, x, &self.down, logits, d_normed, sink, &mut self.d_down);
    }

    /// The value head's share, the last norm, and back to the rows the targets came from.
    fn finish_backward(
        &mut self,
        decoder: &Decoder,
        d_value: &[f32],
        d_stream: &mut [f32],
        gradient: &mut [f32],
    ) {
        let hidden = decoder.config.hidden_size;
        let len = self.len() * hidden;
        d_stream.fill(0.0);
        if self.len() == 0 {
            return;
        }
        let d_normed = &mut self.d_normed[..len];
        if let (Some((weight, _)), Some(spans), false) =
            (decoder.value_head(), decoder.value_spans(), d_value.is_empty())
        {
            let rows = d_normed.chunks_exact_mut(hidden).zip(self.normed[..len].chunks_exact(hidden));
            for ((d_row, row), &d) in rows.zip(d_value) {
                for ((d_x, w), (d_w, x)) in
                    d_row.iter_mut().zip(weight).zip(gradient[spans.weight.clone()].iter_mut().zip(row))
                {
                    *d_x += d * w;
                    *d_w += d * x;
                }
                gradient[spans.bias] += d;
            }
        }
        reserve(&mut self.d_stream, len);
        let d_target = &mut self.d_stream[..len];
        d_target.fill(0.0);
        let norm = &decoder.layout.final_norm;
        let mut discarded = Vec::new();
        let d_weight = if decoder.trains_base() {
            &mut gradient[norm.clone()]
        } else {
            discarded.resize(hidden, 0.0);
            &mut discarded
        };
        let stream = &self.stream[..len];
        rms_norm_backward(
            &decoder.pool,
            stream,
            decoder.vector(norm),
            &self.inverse,
            d_normed,
            d_target,
            d_weight,
        );
        embedding_scatter_add(&decoder.pool, hidden, d_target, &self.rows, d_stream);
    }
}

/// Ranges of at most `chunk` that make up `0..total`, all of nearly the same size.
fn chunks(total: usize, chunk: usize) -> impl Iterator<Item = Range<usize>> {
    let count = total.div_ceil(chunk.max(1));
    (0..count).map(move |i| i * total / count..(i + 1) * total / count)
}
