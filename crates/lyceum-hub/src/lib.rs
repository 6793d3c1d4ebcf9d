//! Registered models and data sets: where they come from, pulling, verifying, caching
#![forbid(unsafe_code)]
