//! Chat models: one trait, [`ChatModel`], for the local engine ([`LocalChat`]) and for endpoints over HTTP ([`Endpoint`]).
//!
//! A model can be wrapped: [`Cached`] keeps replies on disk under the hash of what was asked, [`Budgeted`] takes their tokens from
//! a [`Budget`] that a method splits among its calls. An endpoint is hostile until shown otherwise: what it sends is bounded in
//! size and time, and whatever it sends is a reply or an [`Error`], never a panic.
#![forbid(unsafe_code)]

mod budget;
mod cache;
mod endpoint;
mod error;
mod key;
mod limits;
mod local;
mod model;
mod profile;
mod rate;
mod request;
mod retry;
#[cfg(feature = "stub")]
pub mod stub;
mod transport;
pub mod wire;

pub use budget::{Budget, Budgeted};
pub use cache::Cached;
pub use endpoint::{Endpoint, EndpointSpec};
pub use error::{Error, Fault, Result};
pub use limits::Limits;
pub use local::LocalChat;
pub use model::{ChatModel, LogProbability, ask_all};
pub use profile::Profile;
pub use rate::{RateLimit, Reservation};
pub use request::{Alternative, ChatReply, ChatRequest, Delta, Finish, TokenLogProb, Usage, Wall};
