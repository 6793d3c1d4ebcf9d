//! Credit, advantage, objective and sampler as pure functions, and the training loops over them
#![forbid(unsafe_code)]
