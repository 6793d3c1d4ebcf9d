//! Generation: continuous batching, prompt sharing, sampling and exact log-probabilities
#![forbid(unsafe_code)]
