//! Normalisation of rows: RMS norm (also per head) and LayerNorm.

mod heads;
mod layer;
mod rms;
#[cfg(test)]
mod tests;

pub use heads::{rms_norm_heads, rms_norm_heads_backward};
pub use layer::{layer_norm, layer_norm_backward};
pub use rms::{add_rms_norm, rms_norm, rms_norm_backward};
