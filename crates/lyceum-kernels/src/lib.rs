//! SIMD CPU kernels for language models, over plain slices.
//!
//! Every kernel takes a [`Pool`], which carries the number of threads and the instruction-set [`Level`];
//! nothing is global. At one level results are bitwise the same from run to run and, where the
//! documentation of a kernel says so, for every number of threads and every batch.
#![expect(
    unsafe_code,
    reason = "SIMD intrinsics and disjoint writes by the pool's workers live in this crate"
)]

mod convert;
mod error;
mod gemm;
mod huge_vec;
mod level;
mod mat;
mod pool;

pub use convert::{to_bf16, to_f32};
pub use error::{Error, Result};
pub use gemm::{Packed, Precision, gemm, gemm_packed};
pub use half::bf16;
pub use huge_vec::HugeVec;
pub use level::Level;
pub use mat::Mat;
pub use pool::Pool;
