//! The decoder over the kernels: one operation with a hand-written backward.
//!
//! `model` holds the weights, `layer` computes one layer forward and backward, `backbone` all of them, `head` the
//! logits of target rows in chunks, `export` reads tensors back. `policy` ties them to the trainer's seam; `generate` runs rows against a
//! key/value cache.

mod activations;
mod backbone;
mod cache;
mod evaluate;
mod export;
mod generate;
mod head;
pub mod initial;
mod layer;
mod linear;
mod model;
mod policy;
mod store;

pub use cache::{KvCache, RowInput, Slot};
pub use model::{Adapter, Decoder, Source};
pub use policy::{KernelPolicy, Options, Training};
