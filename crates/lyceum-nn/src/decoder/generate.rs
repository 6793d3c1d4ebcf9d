//! New rows against a key/value cache: prefill of prompts and decoding of one token a sequence are the same call.

use crate::decoder::activations::Scratch;
use crate::decoder::cache::{KvCache, Room, RowInput, Slot};
use crate::decoder::layer::{Layer, heads};
use crate::decoder::model::{Adapter, Decoder, Product};
use crate::{Error, Result};
use lyceum_kernels::{HugeVec, KvSpan, Mat, add_scaled, attention_cached, rms_norm};

/// Rows computed at a time; bounds the buffers of a long prefill.
const CHUNK: usize = 512;

impl Decoder {
    /// An empty cache; its precision is the model's.
    pub fn cache(&self) -> KvCache {
        KvCache::new(&self.config, self.precision)
    }

    /// Appends `rows` to their sequences, in order, with the adapter on, and writes the logits after the rows numbered
    /// in `wanted` to `logits`, one row of the vocabulary's size each.
    ///
    /// A row's keys, values and logits depend on its own sequence only: they are bitwise the same whatever else is in
    /// the call, and however a sequence is cut into calls.
    ///
    /// # Errors
    /// [`Error::Input`] for a token outside the vocabulary, a slot that is not held, a sequence that would outgrow
    /// the model's context, or a wanted row that does not exist; the cache is then as it was.
    pub fn extend(
        &self,
        cache: &mut KvCache,
        rows: &[RowInput],
        wanted: &[usize],
        logits: &mut Vec<f32>,
    ) -> Result<()> {
        let (vocab, hidden) = (self.config.vocab_size, self.config.hidden_size);
        if let Some(row) = rows.iter().find(|row| row.token as usize >= vocab) {
            return Err(Error::Input(format!("token {} is outside the vocabulary of {vocab}", row.token)));
        }
        if let Some(row) = wanted.iter().find(|&&row| row >= rows.len()) {
            return Err(Error::Input(format!("logits wanted of row {row} of {}", rows.len())));
        }
        logits.resize(wanted.len() * vocab, 0.0);
        self.take_places(cache, rows)?;
        for first in (0..rows.len()).step_by(CHUNK) {
            let chunk = first..rows.len().min(first + CHUNK);
            self.run_rows(cache, chunk.clone());
            // The head's input: wanted rows of this chunk, which may come in any order and more than once.
            let here: Vec<usize> = (0..wanted.len()).filter(|&i| chunk.contains(&wanted[i])).collect();
            if here.is_empty() {
                continue;
            }
            let Room { scratch, stream, .. } = &mut cache.room;
            let mut states = Vec::with_capacity(here.len() * hidden);
            for &i in &here {
                states.extend_from_slice(&stream[(wanted[i] - first) * hidden..][..hidden]);
            }
            let in_order = here.windows(2).all(|pair| pair[0] + 1 == pair[1]);
            if in_order {
                let part = here[0] * vocab..(here[0] + here.len()) * vocab;
                self.head_rows(&states, scratch, &mut logits[part]);
            } else {
                for (&i, state) in here.iter().zip(states.chunks_exact(hidden)) {
                    self.head_rows(state, scratch, &mut logits[i * vocab..(i + 1) * vocab]);
                }
            }
        }
        Ok(())
    }

    /// Appends whole prompts to sequences; writes the logits after each prompt's last token to `logits`.
    ///
    /// # Errors
    /// As [`extend`](Self::extend), and for an empty prompt.
    pub fn prefill(
        &self,
        cache: &mut KvCache,
        prompts: &[(Slot, &[u32])],
        logits: &mut Vec<f32>,
    ) -> Result<()> {
        let mut rows = Vec::new();
        let mut wanted = Vec::with_capacity(prompts.len());
        for &(slot, prompt) in prompts {
            rows.extend(prompt.iter().map(|&token| RowInput { token, slot }));
            if prompt.is_empty() {
                return Err(Error::Input("a prompt is empty; give at least one token (bos)".into()));
            }
            wanted.push(rows.len() - 1);
        }
        self.extend(cache, &rows, &wanted, logits)
    }

    /// Finds the rows' positions and their places in the cache; takes none on an error.
    fn take_places(&self, cache: &mut KvCache, rows: &[RowInput]) -> Result<()> {
        let mut places = std::mem::take(&mut cache.room.places);
        let mut positions = std::mem::take(&mut cache.room.positions);
        places.clear();
        positions.clear();
        let mut failure = None;
        for row in rows {
            match cache.take_place(row.slot, self.config.max_positions) {
                Ok((place, position)) => {
                    places.push(place);
                    positions.push(position);
                }
                Err(error) => {
                    failure = Some(error);
                    break;
                }
            }
        }
        if failure.is_some() {
            for &place in places.iter().rev() {
                cache.give_back(place);
            }
        }
        let room = &mut cache.room;
        room.tokens.clear();
        room.tokens.extend(rows.iter().map(|row| row.token));
        (room.places, room.positions) = (places, positions);
        failure.map_or(Ok(()), Err)
    }

    /// Runs the rows in `chunk` through all layers; leaves the residual stream in the cache's room.
    fn run_rows(&self, cache: &mut KvCache, chunk: std::ops::Range<usize>) {
        let config = &self.config;
        let (rows, hidden) = (chunk.len(), config.hidden_size);
        let (query, kv, ffn) = (config.query_width(), config.kv_width(), config.intermediate_size);
        let width = query + 2 * kv;
        if cache.room.scratch.capacity < rows {
            cache.room.scratch = Scratch::new(config, rows);
            cache.room.stream = HugeVec::zeroed(rows * hidden);
        }
        // The buffers leave the cache while keys and values are written to it.
        let mut scratch = std::mem::take(&mut cache.room.scratch);
        let mut stream = std::mem::take(&mut cache.room.stream);
        let positions = std::mem::take(&mut cache.room.positions);
        let places = std::mem::take(&mut cache.room.places);
        let rope = self.rope(positions[chunk.clone()].iter().max().map_or(0, |&last| last as usize + 1));

        let x = &mut stream[..rows * hidden];
        let Scratch { normed, inverse, qkv, raw_qkv, attended, gate_up, activated, down, .. } = &mut scratch;
        let (normed, qkv) = (&mut normed[..rows * hidden], &mut qkv[..rows * width]);
        let (attended, gate_up) = (&mut attended[..rows * query], &mut gate_up[..rows * 2 * ffn]);
        let raw_qkv = if config.qk_norm() { &mut raw_qkv[..rows * width] } else { &mut [] };

        self.embed(&cache.room.tokens[chunk.clone()], x);
        for index in 0..config.num_layers {
            let layer = Layer { decoder: self, index, adapter: Adapter::On };
            let spans = &self.layout.layers[index];
            layer.norm(x, &spans.input_norm, normed, &mut inverse[..rows]);
            layer.project_qkv(Mat::f32(normed, rows, hidden), qkv, down);
            layer.turn_heads(qkv, raw_qkv, inverse, &positions[chunk.clone()], &rope);
            for (row, &place) in qkv.chunks_exact(width).zip(&places[chunk.clone()]) {
                cache.write(index, place, &row[query..query + kv], &row[query + kv..]);
            }
            attend(self, cache, index, &places[chunk.clone()], qkv, attended);
            layer.project(Product::Output, Mat::f32(attended, rows, query), normed, down);
            add_scaled(&self.pool, 1.0, normed, x);
            layer.norm(x, &spans.post_norm, normed, &mut inverse[..rows]);
            layer.project(Product::GateUp, Mat::f32(normed, rows, hidden), gate_up, down);
            layer.contract(gate_up, &mut activated[..rows * ffn], normed, down);
            add_scaled(&self.pool, 1.0, normed, x);
        }
        let room = &mut cache.room;
        (room.scratch, room.stream, room.positions, room.places) = (scratch, stream, positions, places);
    }

    /// Logits of the residual stream's rows in `states`.
    fn head_rows(&self, states: &[f32], scratch: &mut Scratch, logits: &mut [f32]) {
        let hidden = self.config.hidden_size;
        let rows = states.len() / hidden;
        let mut normed = vec![0.0; states.len()];
        let mut inverse = vec![0.0; rows];
        let weight = self.vector(&self.layout.final_norm);
        rms_norm(&self.pool, states, weight, self.config.rms_norm_eps as f32, &mut normed, &mut inverse);
        let normed = Mat::f32(&normed, rows, hidden);
        self.head(Adapter::On).forward(&self.pool, normed, logits, &mut scratch.down);
    }
}

/// Attention of the rows' queries to what the cache holds of their sequences.
fn attend(
    decoder: &Decoder,
    cache: &KvCache,
    layer: usize,
    places: &[crate::decoder::cache::Place],
    qkv: &[f32],
    attended: &mut [f32],
) {
    let mut spans: Vec<KvSpan<'_>> = Vec::with_capacity(2 * places.len());
    let mut ends = Vec::with_capacity(places.len());
    for &place in places {
        cache.spans(layer, place, &mut spans);
        ends.push(spans.len());
    }
    let starts = std::iter::once(0).chain(ends.iter().copied());
    let rows: Vec<&[KvSpan<'_>]> = starts.zip(&ends).map(|(start, &end)| &spans[start..end]).collect();
    let stride = qkv.len() / places.len();
    attention_cached(&decoder.pool, heads(decoder), qkv, stride, &rows, attended);
}
