//! Forward only: for the reference model and for evaluation.

use crate::Result;
use crate::decoder::head::HeadTape;
use crate::decoder::layer::Geometry;
use crate::decoder::model::{Adapter, Decoder};
use crate::policy::{Batch, TokenStats};

impl Decoder {
    /// Statistics of the batch's targets, with the adapter on or off; logits exist for `chunk` targets at a time.
    ///
    /// # Errors
    /// [`crate::Error::Input`] if the batch does not fit the model.
    pub fn evaluate(&self, batch: &Batch, adapter: Adapter, chunk: usize) -> Result<TokenStats> {
        batch.validate(&self.config)?;
        let rope = self.rope_for(batch);
        let geometry = Geometry { segments: &batch.segments, positions: &batch.positions, rope: &rope };
        let stream = self.run(batch, geometry, adapter);
        let mut head = HeadTape::default();
        head.enter(self, batch, &stream);
        drop(stream);
        Ok(head.forward(self, adapter, chunk, 0))
    }
}
