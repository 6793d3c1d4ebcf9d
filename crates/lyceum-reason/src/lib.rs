//! Methods that reason at test time: they see documents, questions and a chat model, and no weights.
#![forbid(unsafe_code)]

pub mod polyrag;
