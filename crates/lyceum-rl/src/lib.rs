//! Credit, advantage, objective and sampler as pure functions, and the training loops over them.
//!
//! A method is a composition of the small parts below, chosen in a recipe; the loops do not know which paper they
//! run.
#![forbid(unsafe_code)]

pub mod advantage;
pub mod credit;
pub mod denominator;
pub mod filter;
pub mod kl;
pub mod objective;
pub mod sampler;
