//! Tensors out of a decoder, by their names in a checkpoint.

use crate::decoder::model::{Decoder, Flat, spans};
use crate::params::Entry;
use crate::{Error, Result};
use lyceum_kernels::{HugeVec, Mat, Precision, add_scaled, gemm};

impl Decoder {
    /// Copies a tensor of the base model to `out`, with `scale * B A` added where an adapter belongs to it. Frozen
    /// matrices come in the products' precision.
    ///
    /// # Errors
    /// [`Error::Input`] if `out` is not of the tensor's size, or if the head has an adapter but no matrix of its own.
    pub(crate) fn read_merged(&self, entry: &Entry, out: &mut [f32]) -> Result<()> {
        self.read_base(entry, out)?;
        let Some(adapter) = &self.adapter else { return Ok(()) };
        let holder = spans(&self.layout)
            .zip(&adapter.layout.groups)
            .find(|(span, _)| entry.shape.len() == 2 && span.range().contains(&entry.offset));
        let Some((span, Some(group))) = holder else { return Ok(()) };
        if span == self.layout.embedding {
            return Err(Error::Input(
                "the head's adapter cannot be merged: the head is the embedding; save the adapter instead"
                    .into(),
            ));
        }
        let first = (entry.offset - span.offset) / span.cols;
        let part = group.parts.iter().enumerate().find(|(_, part)| part.outputs.start == first);
        let Some((index, part)) = part else { return Ok(()) };
        let a = &adapter.flat[group.a.clone()][index * group.rank * span.cols..];
        let a = Mat::f32(a, group.rank, span.cols);
        let b = Mat::f32(&adapter.flat[part.b.clone()], part.outputs.len(), group.rank);
        let mut delta = HugeVec::zeroed(out.len());
        gemm(&self.pool, Precision::F32, b, a, &mut delta, span.cols, false);
        add_scaled(&self.pool, adapter.config.scale(), &delta, out);
        Ok(())
    }

    /// The same without the adapter.
    fn read_base(&self, entry: &Entry, out: &mut [f32]) -> Result<()> {
        if out.len() != entry.len() {
            let (name, len) = (&entry.name, entry.len());
            return Err(Error::Input(format!("{name} has {len} elements; there is room for {}", out.len())));
        }
        match &self.flat {
            Flat::Trained(flat) => out.copy_from_slice(&flat[entry.range()]),
            Flat::Frozen { .. } if entry.offset >= self.layout.matrices().end => {
                out.copy_from_slice(self.vector(&entry.range()));
            }
            Flat::Frozen { embedding, .. } if entry.offset == self.layout.embedding.offset => {
                embedding.get(&self.pool, 0, out);
            }
            Flat::Frozen { .. } => self.unpack(entry, out),
        }
        Ok(())
    }

    /// Reads a matrix back from the packed product it is part of.
    fn unpack(&self, entry: &Entry, out: &mut [f32]) {
        let mut products = spans(&self.layout).zip(&self.packed);
        let Some((span, packed)) = products.find(|(span, _)| span.range().contains(&entry.offset)) else {
            return;
        };
        let first = (entry.offset - span.offset) / span.cols;
        let view = packed.view();
        self.pool.split(out, span.cols, |start, rows| {
            for (row, values) in rows.chunks_exact_mut(span.cols).enumerate() {
                for (col, value) in values.iter_mut().enumerate() {
                    *value = view.at(first + start + row, col);
                }
            }
        });
    }
}
