//! Keys and values of the tokens seen so far, by sequence.

use crate::config::DecoderConfig;
use crate::decoder::activations::Scratch;
use crate::decoder::store::Store;
use crate::{Error, Result};
use bytemuck::Zeroable;
use lyceum_kernels::{HugeVec, KvRows, KvSpan, Precision, bf16};

/// Tokens a new sequence has room for; room doubles when it is full.
const FIRST_ROOM: usize = 32;

/// A sequence in a [`KvCache`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Slot(usize);

/// A token to be appended to a sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowInput {
    /// The token.
    pub token: u32,
    /// The sequence it continues; its position is the sequence's length.
    pub slot: Slot,
}

/// Keys and values of many sequences. A sequence may continue another one, whose tokens it then shares: a group's
/// prompt is held, and was computed, once.
#[derive(Debug)]
pub struct KvCache {
    precision: Precision,
    layers: usize,
    width: usize,
    sequences: Vec<Sequence>,
    free: Vec<usize>,
    pub(crate) room: Room,
}

/// Buffers of [`Decoder::extend`](crate::decoder::Decoder::extend), used again at every call.
#[derive(Debug, Default)]
pub(crate) struct Room {
    pub(crate) scratch: Scratch,
    pub(crate) stream: HugeVec<f32>,
    pub(crate) positions: Vec<u32>,
    pub(crate) tokens: Vec<u32>,
    pub(crate) places: Vec<Place>,
}

/// Where a new row goes: its sequence and its index among the sequence's own tokens.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    pub(crate) sequence: usize,
    pub(crate) index: usize,
}

#[derive(Debug)]
struct Sequence {
    /// The sequence this one continues, and how many of its own tokens it shares.
    parent: Option<(usize, usize)>,
    /// Tokens of all ancestors that this sequence shares.
    inherited: usize,
    /// Tokens of its own.
    len: usize,
    /// Own tokens there is room for.
    capacity: usize,
    /// Layers x (keys, values) x capacity x width.
    data: Store,
    /// The holder of the slot, and the sequences that continue this one.
    users: usize,
    /// Whether the slot's holder has not released it.
    held: bool,
}

impl KvCache {
    pub(crate) fn new(config: &DecoderConfig, precision: Precision) -> Self {
        Self {
            precision,
            layers: config.num_layers,
            width: config.kv_width(),
            sequences: Vec::new(),
            free: Vec::new(),
            room: Room::default(),
        }
    }

    /// A new empty sequence.
    pub fn allocate(&mut self) -> Slot {
        self.open(None, 0)
    }

    /// A new sequence that goes on from where `parent` stands now. `parent` may itself go on, differently.
    ///
    /// # Panics
    /// If `parent` has been released.
    pub fn fork(&mut self, parent: Slot) -> Slot {
        assert!(self.sequences[parent.0].held, "{parent:?} has been released");
        let Sequence { inherited, len, .. } = self.sequences[parent.0];
        self.sequences[parent.0].users += 1;
        self.open(Some((parent.0, len)), inherited + len)
    }

    fn open(&mut self, parent: Option<(usize, usize)>, inherited: usize) -> Slot {
        let index = self.free.pop().unwrap_or_else(|| {
            self.sequences.push(Sequence {
                parent: None,
                inherited: 0,
                len: 0,
                capacity: 0,
                data: Store::zeroed(self.precision, 0),
                users: 0,
                held: false,
            });
            self.sequences.len() - 1
        });
        let sequence = &mut self.sequences[index];
        (sequence.parent, sequence.inherited, sequence.len) = (parent, inherited, 0);
        (sequence.users, sequence.held) = (1, true);
        Slot(index)
    }

    /// Gives a sequence back. What others continue stays until they are released as well; room is kept for new ones.
    pub fn release(&mut self, slot: Slot) {
        if !std::mem::take(&mut self.sequences[slot.0].held) {
            return;
        }
        let mut next = Some(slot.0);
        while let Some(index) = next {
            let sequence = &mut self.sequences[index];
            sequence.users -= 1;
            if sequence.users > 0 {
                break;
            }
            next = sequence.parent.take().map(|(parent, _)| parent);
            self.free.push(index);
        }
    }

    /// Tokens in a sequence, shared ones included: the position of its next token.
    pub fn len(&self, slot: Slot) -> usize {
        let sequence = &self.sequences[slot.0];
        sequence.inherited + sequence.len
    }

    /// Whether no sequence is held.
    pub fn is_empty(&self) -> bool {
        self.free.len() == self.sequences.len()
    }

    /// Bytes taken by keys and values, room included.
    pub fn bytes(&self) -> usize {
        self.sequences.iter().map(|sequence| sequence.data.bytes()).sum()
    }

    /// Makes room for `tokens` more tokens of a sequence, so that it need not move while it grows.
    pub fn reserve(&mut self, slot: Slot, tokens: usize) {
        let (layers, width) = (self.layers, self.width);
        let sequence = &mut self.sequences[slot.0];
        if sequence.len + tokens > sequence.capacity {
            sequence.grow(sequence.len + tokens, layers, width);
        }
    }

    /// Takes the next place of the sequence for a row.
    pub(crate) fn take_place(&mut self, slot: Slot, limit: usize) -> Result<(Place, u32)> {
        let held = self.sequences.get(slot.0).is_some_and(|sequence| sequence.held);
        if !held {
            return Err(Error::Input(format!("{slot:?} is not a sequence of this cache")));
        }
        let (layers, width) = (self.layers, self.width);
        let sequence = &mut self.sequences[slot.0];
        let position = sequence.inherited + sequence.len;
        if position >= limit {
            return Err(Error::Input(format!(
                "the sequence is full: the model's context holds {limit} tokens"
            )));
        }
        if sequence.len == sequence.capacity {
            sequence.grow((2 * sequence.capacity).max(FIRST_ROOM), layers, width);
        }
        sequence.len += 1;
        Ok((Place { sequence: slot.0, index: sequence.len - 1 }, position as u32))
    }

    /// Gives back the last `count` places of a sequence, after an error.
    pub(crate) fn give_back(&mut self, place: Place) {
        self.sequences[place.sequence].len = place.index;
    }

    /// Writes a row's key and value.
    pub(crate) fn write(&mut self, layer: usize, place: Place, key: &[f32], value: &[f32]) {
        let width = self.width;
        let sequence = &mut self.sequences[place.sequence];
        for (half, row) in [(0, key), (1, value)] {
            let start = sequence.offset(layer, half, width) + place.index * width;
            sequence.data.put_row(start, row);
        }
    }

    /// All that the row at `place` attends to, itself last.
    pub(crate) fn spans<'c>(&'c self, layer: usize, place: Place, spans: &mut Vec<KvSpan<'c>>) {
        let first = spans.len();
        let mut next = Some((place.sequence, place.index + 1));
        while let Some((index, len)) = next {
            let sequence = &self.sequences[index];
            if len > 0 {
                let rows = |half| {
                    let start = sequence.offset(layer, half, self.width);
                    sequence.data.kv_rows(start..start + len * self.width)
                };
                spans.push(KvSpan { keys: rows(0), values: rows(1), len });
            }
            next = sequence.parent;
        }
        spans[first..].reverse();
    }
}

impl Sequence {
    /// First element of a layer's keys (`half` 0) or values (1).
    fn offset(&self, layer: usize, half: usize, width: usize) -> usize {
        (2 * layer + half) * self.capacity * width
    }

    fn grow(&mut self, capacity: usize, layers: usize, width: usize) {
        self.data = self.data.regrown(2 * layers, self.capacity * width, capacity * width, self.len * width);
        self.capacity = capacity;
    }
}

impl Store {
    fn put_row(&mut self, start: usize, row: &[f32]) {
        match self {
            Self::F32(data) => data[start..start + row.len()].copy_from_slice(row),
            Self::Bf16(data) => {
                for (element, value) in data[start..].iter_mut().zip(row) {
                    *element = bf16::from_f32(*value);
                }
            }
        }
    }

    /// A copy in which each of `parts` equal parts is `to` elements long instead of `from`, with its first `kept`.
    fn regrown(&self, parts: usize, from: usize, to: usize, kept: usize) -> Self {
        match self {
            Self::F32(data) => Self::F32(regrown(data, parts, from, to, kept)),
            Self::Bf16(data) => Self::Bf16(regrown(data, parts, from, to, kept)),
        }
    }

    fn kv_rows(&self, range: std::ops::Range<usize>) -> KvRows<'_> {
        match self {
            Self::F32(data) => KvRows::F32(&data[range]),
            Self::Bf16(data) => KvRows::Bf16(&data[range]),
        }
    }
}

fn regrown<T: Zeroable + Copy>(data: &[T], parts: usize, from: usize, to: usize, kept: usize) -> HugeVec<T> {
    let mut grown = HugeVec::zeroed(parts * to);
    for part in 0..parts {
        grown[part * to..part * to + kept].copy_from_slice(&data[part * from..part * from + kept]);
    }
    grown
}
