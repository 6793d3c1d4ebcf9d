//! The trace: one record for rollouts, agent runs and evaluation items
#![forbid(unsafe_code)]
