//! Developer commands: `cargo xtask setup | test | parity | golden`.
#![forbid(unsafe_code)]

fn main() {}
