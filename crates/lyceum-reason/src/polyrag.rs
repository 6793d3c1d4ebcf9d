//! PolyRAG (arXiv 2504.14917): retrieved documents are scored from several views, the scores are mixed, and what is chosen
//! covers the topics. Scales, normal forms, topics' radius and the selection's procedure are not given by the paper; those here
//! are ours, and so is the view *commonality*, which its abstract names and its body does not define.

pub mod dates;
pub mod mix;
pub mod student;
pub mod topics;
pub mod views;
pub mod world;

pub use mix::{Mixer, PAPER, mix, without};
pub use topics::{select, topics};
pub use views::{Candidate, Settings, VIEWS, Views, view};
