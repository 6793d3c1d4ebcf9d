//! Reading what an endpoint sends, byte by byte from a server that may be broken or hostile.
//!
//! [`Sse`] cuts a stream into events, [`Assembly`] puts a reply together out of them, and [`reply_of_body`] reads one that comes
//! whole. All three take any bytes and give a [`Fault`] where they are no reply.

mod assembly;
mod body;
mod sse;

pub use assembly::Assembly;
pub(crate) use body::error_text;
pub use body::reply_of_body;
pub use sse::{Event, Sse};
