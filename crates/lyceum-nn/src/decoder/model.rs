//! A decoder's weights as forward, backward and generation read them.

use crate::config::DecoderConfig;
use crate::decoder::linear::{Linear, LinearAdapter, LinearGradient};
use crate::decoder::store::Store;
use crate::lora::{LoraConfig, LoraLayout, PackedGroup};
use crate::params::{Entry, LayerSpans, Layout, MatrixSpan, ValueSpans};
use crate::policy::Batch;
use crate::{Error, Result};
use lyceum_kernels::{HugeVec, Mat, Packed, Pool, Precision, RopeTable, embedding_gather};
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

/// The fused products of a layer, in the order of their use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Product {
    Qkv,
    Output,
    GateUp,
    Down,
}

/// Whether a forward goes through the adapter. Without an adapter both are the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Adapter {
    /// Base weights and adapter: the policy.
    On,
    /// Base weights alone: the reference.
    Off,
}

/// The unfused weights: all of them where they are trained, else only what the packed products do not hold.
#[derive(Debug)]
pub(crate) enum Flat {
    /// The f32 master copy, laid out by [`Layout`].
    Trained(HugeVec<f32>),
    /// Embedding rows in the products' precision, and norms and biases.
    Frozen { embedding: Store, vectors: Vec<f32> },
}

/// An adapter, trainable, and its packed products.
#[derive(Debug)]
pub(crate) struct AdapterWeights {
    pub(crate) config: LoraConfig,
    pub(crate) layout: LoraLayout,
    pub(crate) flat: HugeVec<f32>,
    packed: Vec<Option<PackedGroup>>,
}

/// A decoder's weights. Generation and training share them.
#[derive(Debug)]
pub struct Decoder {
    pub(crate) config: DecoderConfig,
    pub(crate) layout: Layout,
    pub(crate) precision: Precision,
    pub(crate) pool: Arc<Pool>,
    pub(crate) flat: Flat,
    /// Four products a layer, then the head.
    pub(crate) packed: Vec<Packed>,
    pub(crate) adapter: Option<AdapterWeights>,
    /// Covers the positions asked for so far.
    rope: Mutex<Arc<RopeTable>>,
}

/// Fills the elements of a tensor of the layout; called once for each.
pub type Source<'a> = dyn FnMut(&Entry, &mut [f32]) -> Result<()> + 'a;

impl Decoder {
    /// Reads all tensors of `layout` from `source`; keeps an f32 master copy only if they are `trained`.
    pub(crate) fn load(
        config: DecoderConfig,
        layout: Layout,
        precision: Precision,
        pool: Arc<Pool>,
        trained: bool,
        source: &mut Source<'_>,
    ) -> Result<Self> {
        let read = if trained { read_master } else { read_frozen };
        let (flat, packed) = read(&layout, precision, &pool, source)?;
        let rope = Mutex::new(Arc::new(RopeTable::new(&config.rope_frequencies(), 0)));
        Ok(Self { config, layout, precision, pool, flat, packed, adapter: None, rope })
    }

    /// Adds an adapter with these flat values.
    pub(crate) fn attach(&mut self, config: LoraConfig, layout: LoraLayout, flat: HugeVec<f32>) {
        let packed = layout
            .groups
            .iter()
            .map(|group| {
                group.as_ref().map(|group| PackedGroup::pack(&self.pool, self.precision, group, &flat))
            })
            .collect();
        self.adapter = Some(AdapterWeights { config, layout, flat, packed });
    }

    /// The model's shape.
    pub fn config(&self) -> &DecoderConfig {
        &self.config
    }

    /// Names and places of the base model's tensors.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Precision of the operands of products.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// The threads that all work on these weights runs on.
    pub fn pool(&self) -> &Arc<Pool> {
        &self.pool
    }

    /// Bytes held by weights: master copy, packed products, adapter.
    pub fn bytes(&self) -> usize {
        let flat = match &self.flat {
            Flat::Trained(flat) => size_of_val(&**flat),
            Flat::Frozen { embedding, vectors } => embedding.bytes() + size_of_val(&**vectors),
        };
        let adapter = self.adapter.as_ref().map_or(0, |adapter| size_of_val(&*adapter.flat));
        flat + adapter + self.packed.iter().map(Packed::bytes).sum::<usize>()
    }

    /// A norm or bias.
    pub(crate) fn vector(&self, range: &Range<usize>) -> &[f32] {
        match &self.flat {
            Flat::Trained(flat) => &flat[range.clone()],
            Flat::Frozen { vectors, .. } => {
                let start = self.layout.matrices().end;
                &vectors[range.start - start..range.end - start]
            }
        }
    }

    /// Rope's angles for at least the positions below `positions`.
    pub(crate) fn rope(&self, positions: usize) -> Arc<RopeTable> {
        let mut table = self.rope.lock().unwrap_or_else(PoisonError::into_inner);
        if table.positions() < positions {
            let room = positions.next_power_of_two().max(512);
            *table = Arc::new(RopeTable::new(&self.config.rope_frequencies(), room));
        }
        Arc::clone(&table)
    }

    /// Rope's angles for the positions of `batch`.
    pub(crate) fn rope_for(&self, batch: &Batch) -> Arc<RopeTable> {
        self.rope(batch.positions.iter().max().map_or(0, |&last| last as usize + 1))
    }

    /// Embedding rows of `ids`, to `out` of `ids.len() x hidden`.
    pub(crate) fn embed(&self, ids: &[u32], out: &mut [f32]) {
        let hidden = self.config.hidden_size;
        match &self.flat {
            Flat::Trained(flat) => {
                embedding_gather(&self.pool, hidden, &flat[self.layout.embedding.range()], ids, out);
            }
            Flat::Frozen { embedding: Store::F32(table), .. } => {
                embedding_gather(&self.pool, hidden, table, ids, out);
            }
            Flat::Frozen { embedding: Store::Bf16(table), .. } => {
                for (&id, row) in ids.iter().zip(out.chunks_exact_mut(hidden)) {
                    for (value, element) in row.iter_mut().zip(&table[id as usize * hidden..]) {
                        *value = element.to_f32();
                    }
                }
            }
        }
    }

    /// The product `product` of layer `layer`.
    pub(crate) fn linear(&self, layer: usize, product: Product, adapter: Adapter) -> Linear<'_> {
        self.linear_at(4 * layer + product as usize, adapter)
    }

    /// The head: hidden to logits.
    pub(crate) fn head(&self, adapter: Adapter) -> Linear<'_> {
        self.linear_at(self.packed.len() - 1, adapter)
    }

    fn linear_at(&self, index: usize, adapter: Adapter) -> Linear<'_> {
        let adapter = self.adapter.as_ref().filter(|_| adapter == Adapter::On).and_then(|adapter| {
            let group = adapter.layout.groups[index].as_ref()?;
            let packed = adapter.packed[index].as_ref()?;
            Some(LinearAdapter { group, packed, flat: &adapter.flat, scale: adapter.config.scale() })
        });
        Linear { base: &self.packed[index], adapter }
    }

    /// The value head's weight and bias.
    pub(crate) fn value_head(&self) -> Option<(&[f32], f32)> {
        let spans = self.value_spans()?;
        let flat = self.trainable();
        Some((&flat[spans.weight.clone()], flat[spans.bias]))
    }

    /// Where the value head lies in the trainable vector.
    pub(crate) fn value_spans(&self) -> Option<&ValueSpans> {
        self.adapter.as_ref().map_or(self.layout.value.as_ref(), |adapter| adapter.layout.value.as_ref())
    }

    /// Whether the base weights themselves are trained.
    pub(crate) fn trains_base(&self) -> bool {
        self.adapter.is_none() && matches!(self.flat, Flat::Trained(_))
    }

    /// Where the gradient of the base product at `span` goes, in the gradient of the trainable vector.
    pub(crate) fn gradient_of<'g>(&self, span: MatrixSpan, gradient: &'g mut [f32]) -> LinearGradient<'g> {
        if self.trains_base() {
            LinearGradient::Base(&mut gradient[span.range()])
        } else {
            LinearGradient::Adapter(gradient)
        }
    }

    /// The trainable vector: the adapter's, or all weights; empty when frozen.
    pub(crate) fn trainable(&self) -> &[f32] {
        match (&self.adapter, &self.flat) {
            (Some(adapter), _) => &adapter.flat,
            (None, Flat::Trained(flat)) => flat,
            (None, Flat::Frozen { .. }) => &[],
        }
    }

    /// The trainable vector, to be changed; call [`repack`](Self::repack) after.
    pub(crate) fn trainable_mut(&mut self) -> &mut [f32] {
        match (&mut self.adapter, &mut self.flat) {
            (Some(adapter), _) => &mut adapter.flat,
            (None, Flat::Trained(flat)) => flat,
            (None, Flat::Frozen { .. }) => &mut [],
        }
    }

    /// The tensors of the trainable vector.
    pub(crate) fn trainable_entries(&self) -> &[Entry] {
        match (&self.adapter, &self.flat) {
            (Some(adapter), _) => adapter.layout.entries(),
            (None, Flat::Trained(_)) => self.layout.entries(),
            (None, Flat::Frozen { .. }) => &[],
        }
    }

    /// The part of the trainable vector that weight decay applies to.
    pub(crate) fn decayed(&self) -> Range<usize> {
        match (&self.adapter, &self.flat) {
            (Some(adapter), _) => {
                0..adapter.layout.value.as_ref().map_or(adapter.flat.len(), |value| value.bias)
            }
            (None, Flat::Trained(_)) => self.layout.matrices(),
            (None, Flat::Frozen { .. }) => 0..0,
        }
    }

    /// Brings the packed products up to date with the trainable vector.
    pub(crate) fn repack(&mut self) {
        if let Some(adapter) = &mut self.adapter {
            for (packed, group) in adapter.packed.iter_mut().zip(&adapter.layout.groups) {
                if let (Some(packed), Some(group)) = (packed, group) {
                    packed.repack(&self.pool, group, &adapter.flat);
                }
            }
        } else if let Flat::Trained(flat) = &self.flat {
            for (packed, span) in self.packed.iter_mut().zip(spans(&self.layout)) {
                packed.repack(&self.pool, matrix(flat, span));
            }
        }
    }
}

/// All weights in f32, and packed.
fn read_master(
    layout: &Layout,
    precision: Precision,
    pool: &Pool,
    source: &mut Source<'_>,
) -> Result<(Flat, Vec<Packed>)> {
    let mut flat = HugeVec::zeroed(layout.len());
    for entry in layout.entries() {
        source(entry, &mut flat[entry.range()])?;
    }
    let packed = spans(layout).map(|span| Packed::pack(pool, precision, matrix(&flat, span))).collect();
    Ok((Flat::Trained(flat), packed))
}

/// Packed products and what they do not hold. Matrices come one fused group at a time: no more is ever held in f32.
fn read_frozen(
    layout: &Layout,
    precision: Precision,
    pool: &Pool,
    source: &mut Source<'_>,
) -> Result<(Flat, Vec<Packed>)> {
    let mut rest = layout.entries().iter().peekable();
    let mut group = |span: MatrixSpan| {
        let mut group = HugeVec::zeroed(span.rows * span.cols);
        while let Some(entry) = rest.next_if(|entry| entry.offset < span.range().end) {
            let range = entry.range();
            source(entry, &mut group[range.start - span.offset..range.end - span.offset])?;
        }
        Ok::<_, Error>(group)
    };
    let pack = |group: &[f32], span: MatrixSpan| {
        Packed::pack(pool, precision, Mat::f32(group, span.rows, span.cols))
    };
    let table = group(layout.embedding)?;
    let mut embedding = Store::zeroed(precision, table.len());
    embedding.put(pool, 0, &table);
    let head = if layout.head == layout.embedding {
        pack(&table, layout.head)
    } else {
        pack(&group(layout.head)?, layout.head)
    };
    drop(table);
    let mut packed = Vec::with_capacity(4 * layout.layers.len() + 1);
    for span in layout.layers.iter().flat_map(products) {
        packed.push(pack(&group(span)?, span));
    }
    packed.push(head);
    let mut vectors = vec![0.0; layout.len() - layout.matrices().end];
    for entry in layout.entries().iter().filter(|entry| entry.offset >= layout.matrices().end) {
        let start = entry.offset - layout.matrices().end;
        source(entry, &mut vectors[start..start + entry.len()])?;
    }
    Ok((Flat::Frozen { embedding, vectors }, packed))
}

/// The spans of a layer's products, in [`Product`]'s order.
fn products(layer: &LayerSpans) -> [MatrixSpan; 4] {
    [layer.qkv, layer.output, layer.gate_up, layer.down]
}

/// The spans of all products, in the order of `Decoder::packed`.
pub(crate) fn spans(layout: &Layout) -> impl Iterator<Item = MatrixSpan> + '_ {
    layout.layers.iter().flat_map(products).chain([layout.head])
}

fn matrix(flat: &[f32], span: MatrixSpan) -> Mat<'_> {
    Mat::f32(&flat[span.range()], span.rows, span.cols)
}
