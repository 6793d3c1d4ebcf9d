//! Run folders: recipes, checkpoints, resume, metrics, reports, progress, interruption
#![forbid(unsafe_code)]
