//! Tasks, verifiers, rewards and the rollout driver
#![forbid(unsafe_code)]
