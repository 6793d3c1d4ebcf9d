//! Finding texts: an index on disk with BM25 and dense vectors, searched by either or by their fusion.
//!
//! A folder holds one index: tantivy's inverted index under `bm25/`, and files of vectors beside it. What belongs together is
//! written in tantivy's commit: a change is there whole or not at all, whenever the process is killed.
#![forbid(unsafe_code)]

pub mod analysis;
pub mod document;
pub mod embed;
mod error;
pub mod fusion;
pub mod index;
pub mod search;
mod vectors;
mod writer;

pub use document::Document;
pub use embed::Embedder;
pub use error::{Error, Result};
pub use index::{Index, Options};
pub use search::{Hit, Mode};
pub use writer::Added;
