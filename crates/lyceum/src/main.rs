//! The `lyceum` program.
#![forbid(unsafe_code)]

fn main() {}
