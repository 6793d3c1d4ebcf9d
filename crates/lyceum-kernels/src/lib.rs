//! SIMD CPU kernels for language models, over plain slices.
//!
//! Every kernel takes a [`Pool`], which carries the number of threads and the instruction-set [`Level`];
//! nothing is global. At one level results are bitwise the same from run to run and, where the
//! documentation of a kernel says so, for every number of threads and every batch.
#![expect(
    unsafe_code,
    reason = "SIMD intrinsics and disjoint writes by the pool's workers live in this crate"
)]

mod activation;
mod adamw;
mod attention;
mod convert;
mod cross_entropy;
mod elementwise;
mod embedding;
mod error;
mod exp_weights;
mod gemm;
mod head_span;
mod huge_vec;
mod level;
mod mat;
mod norm;
mod pool;
mod reduce;
mod rope;
mod rows;
mod scratch;
mod simd;
mod softmax;
#[cfg(test)]
mod testing;

pub use activation::{Gelu, gelu, gelu_backward, swiglu, swiglu_backward};
pub use adamw::{AdamWStep, adamw};
pub use attention::{
    Heads, KvRows, KvSpan, Segment, attention_backward, attention_cached, attention_forward,
};
pub use convert::{to_bf16, to_f32};
pub use cross_entropy::{logit_gradient, logit_statistics};
pub use elementwise::{add_bias, add_column_sums, add_scaled, scale};
pub use embedding::{embedding_gather, embedding_scatter_add};
pub use error::{Error, Result};
pub use exp_weights::{exp_weights, row_maximum};
pub use gemm::{Packed, Precision, gemm, gemm_packed, peak_gflops};
pub use half::bf16;
pub use head_span::HeadSpan;
pub use huge_vec::HugeVec;
pub use level::Level;
pub use mat::Mat;
pub use norm::{
    add_rms_norm, layer_norm, layer_norm_backward, rms_norm, rms_norm_backward, rms_norm_heads,
    rms_norm_heads_backward,
};
pub use pool::Pool;
pub use reduce::{dot, squared_norm};
pub use rope::{RopeTable, Rotation, rope};
pub use softmax::{softmax, softmax_backward};
