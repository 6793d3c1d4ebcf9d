//! All layers, one after the other: from a batch's rows to the residual stream before the last norm, and back.

use crate::decoder::activations::{BackwardScratch, SavedLayer, Scratch, Tape};
use crate::decoder::layer::{Geometry, Layer};
use crate::decoder::model::{Adapter, Decoder};
use crate::policy::{Batch, Input};
use lyceum_kernels::{HugeVec, embedding_scatter_add};

impl Decoder {
    fn layer(&self, index: usize, adapter: Adapter) -> Layer<'_> {
        Layer { decoder: self, index, adapter }
    }

    /// The rows that enter the first layer, rows x hidden.
    fn enter(&self, batch: &Batch, out: &mut [f32]) {
        match &batch.input {
            Input::Ids(ids) => self.embed(ids, out),
            Input::Embeddings { data } => out.copy_from_slice(data),
        }
    }

    /// Forward without a trace: the residual stream after the last layer, rows x hidden.
    pub(crate) fn run(&self, batch: &Batch, geometry: Geometry<'_>, adapter: Adapter) -> HugeVec<f32> {
        let len = batch.rows() * self.config.hidden_size;
        let mut scratch = Scratch::new(&self.config, batch.rows());
        let mut saved = SavedLayer::new(&self.config, self.precision, batch.rows());
        let mut stream = HugeVec::zeroed(len);
        let mut middle = HugeVec::zeroed(len);
        self.enter(batch, &mut stream);
        for index in 0..self.config.num_layers {
            let layer = self.layer(index, adapter);
            layer.attend(geometry, &stream, &mut middle, &mut scratch, &mut saved);
            layer.feed_forward(&middle, &mut stream, &mut scratch, &mut saved);
        }
        stream
    }

    /// Forward with the adapter on, leaving on `tape` what [`run_back`](Self::run_back) needs. The result is the last
    /// of `tape.residual`.
    pub(crate) fn run_taped(
        &self,
        batch: &Batch,
        geometry: Geometry<'_>,
        tape: &mut Tape,
        scratch: &mut Scratch,
    ) {
        let len = batch.rows() * self.config.hidden_size;
        let checkpointing = tape.checkpointing();
        self.enter(batch, &mut tape.residual[0][..len]);
        for index in 0..self.config.num_layers {
            let layer = self.layer(index, Adapter::On);
            let (before, after) = tape.residual.split_at_mut(index + 1);
            let (x, out) = (&before[index][..len], &mut after[0][..len]);
            let saved = &mut tape.layers[if checkpointing { 0 } else { index }];
            // The saved layer lends its room for `middle`, which therefore cannot be inside it meanwhile.
            let mut middle = std::mem::take(&mut saved.middle);
            layer.attend(geometry, x, &mut middle[..len], scratch, saved);
            layer.feed_forward(&middle[..len], out, scratch, saved);
            saved.middle = middle;
        }
    }

    /// Backward of [`run_taped`](Self::run_taped): `back.d_residual`, the gradient of its result, becomes that of the
    /// rows that entered. Gradients of trained weights are added to `gradient`.
    pub(crate) fn run_back(
        &self,
        batch: &Batch,
        geometry: Geometry<'_>,
        tape: &mut Tape,
        scratch: &mut Scratch,
        back: &mut BackwardScratch,
        gradient: &mut [f32],
    ) {
        let len = batch.rows() * self.config.hidden_size;
        let checkpointing = tape.checkpointing();
        let Tape { residual, layers, .. } = tape;
        for index in (0..self.config.num_layers).rev() {
            let layer = self.layer(index, Adapter::On);
            let saved = &mut layers[if checkpointing { 0 } else { index }];
            let (before, after) = residual.split_at_mut(index + 1);
            let x = &before[index][..len];
            // Backward has passed the layer's output by now: its room takes a second copy of it.
            let mut middle = std::mem::take(&mut saved.middle);
            if checkpointing && index + 1 < self.config.num_layers {
                layer.attend(geometry, x, &mut middle[..len], scratch, saved);
                layer.feed_forward(&middle[..len], &mut after[0][..len], scratch, saved);
            }
            layer.feed_forward_backward(&middle[..len], saved, scratch, back, gradient);
            layer.attend_backward(geometry, x, saved, scratch, back, gradient);
            saved.middle = middle;
        }
        if let (Input::Ids(ids), true) = (&batch.input, self.trains_base()) {
            let table = &mut gradient[self.layout.embedding.range()];
            embedding_scatter_add(&self.pool, self.config.hidden_size, &back.d_residual[..len], ids, table);
        }
    }
}
