//! SIMD CPU kernels for language models with run-time dispatch
