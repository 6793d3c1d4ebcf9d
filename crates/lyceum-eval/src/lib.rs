//! The examiner's metrics: of retrieval, and of answers over evidence, each by the definition of the tool it comes from and
//! named after it, since one name often stands for several formulas.
//!
//! Everything here is arithmetic over texts and judgements: no model, no network. What decides whether one text follows from
//! another is an [`Entailment`], which the caller brings.
#![forbid(unsafe_code)]

pub mod abstention;
pub mod agreement;
pub mod answers;
pub mod claims;
pub mod correlation;
pub mod entailment;
mod error;
pub mod lexical;
pub mod retrieval;
pub mod robustness;
pub mod trec;

pub use entailment::Entailment;
pub use error::{Error, Result};
