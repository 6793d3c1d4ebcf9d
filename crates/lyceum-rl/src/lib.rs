//! Credit, advantage, objective and sampler as pure functions, and the training loops over them.
//!
//! A method is a composition of the small parts below, chosen in a recipe ([`recipe`]). [`train`] is the one loop: it
//! does not know which paper it is running. A round of reinforcement learning ([`round`]) samples, scores, assigns
//! credit, takes advantages ([`update`]) and steps; a round of supervised fine-tuning ([`supervised`]) imitates; a round
//! on judged steps ([`labels`]) teaches a process reward model; one on preferences ([`pairs`]) a reward model or a policy.
#![forbid(unsafe_code)]

pub mod advantage;
pub mod credit;
pub mod curriculum;
pub mod denominator;
mod error;
pub mod experience;
pub mod filter;
pub mod kl;
pub mod labels;
pub mod learner;
pub mod memory;
pub mod objective;
pub mod pairs;
pub mod recipe;
pub mod replay;
pub mod rewards;
pub mod round;
pub mod sampler;
pub mod signs;
pub mod supervised;
pub mod train;
pub mod update;
pub mod weights;

pub use error::{Error, Result};
pub use recipe::Recipe;
