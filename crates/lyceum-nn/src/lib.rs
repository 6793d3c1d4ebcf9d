//! Decoder language models over the kernels: training, inference, checkpoints, adapters; and a text encoder.
//!
//! [`policy::Policy`] is the seam between a trainer and a model. [`decoder::KernelPolicy`] implements it by one
//! operation with a hand-written backward over flat buffers. Its [`decoder::Decoder`] is the part that generation
//! needs: the packed weights and the rows through them, with a key/value cache.

#![forbid(unsafe_code)]

pub mod checkpoint;
#[cfg(feature = "composed")]
pub mod composed;
pub mod config;
pub mod decoder;
pub mod encoder;
pub mod error;
pub mod lora;
pub mod optimizer;
pub mod params;
pub mod policy;
pub mod presets;
pub mod schedule;

pub use config::DecoderConfig;
pub use error::{Error, Result};
