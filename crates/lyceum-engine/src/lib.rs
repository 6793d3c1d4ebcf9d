//! Generation: continuous batching, prompt sharing, sampling and exact log-probabilities.
#![forbid(unsafe_code)]

mod active;
mod choices;
mod codec;
mod error;
mod generate;
mod model;
mod request;
mod sampling;
mod score;
mod steps;

pub use choices::Choices;
pub use codec::{Codec, Demonstration};
pub use error::{Error, Result};
pub use generate::{Event, Generator};
pub use model::{Identity, Model, ModelRequest};
pub use request::{Completion, Finish, Request, Stop};
pub use sampling::{Drawn, Sampling, draw};
pub use steps::{Steps, judge, step_ends, step_score};
