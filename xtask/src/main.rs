//! Developer commands: `cargo xtask setup | test | fuzz | parity | golden`.
#![forbid(unsafe_code)]

mod fuzz;
mod parts;
mod python;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Developer commands of Lyceum.
#[derive(Parser)]
#[command(name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Install what the tests need and this machine lacks.
    Setup,
    /// Set up, then run everything that must pass: format, lints, licences, tests. Prints minutes per part.
    Test {
        /// Run only the parts whose name contains this.
        #[arg(long)]
        only: Option<String>,
    },
    /// Fuzz the parsers of foreign bytes. Needs a nightly compiler; installs cargo-fuzz if it is missing.
    Fuzz {
        /// Seconds for each target.
        #[arg(long, default_value_t = 60)]
        seconds: u64,
        /// Targets to run; all when absent.
        #[arg(value_name = "TARGET")]
        targets: Vec<String>,
    },
    /// Compare with PyTorch, transformers and peft, live (installs them into an environment of its own).
    Parity,
    /// Make the golden files anew from PyTorch, transformers and TRL (installs them into an environment of its own).
    Golden {
        /// Parts to make; all when absent.
        parts: Vec<String>,
    },
}

fn main() -> Result<()> {
    match Cli::parse().command {
        Command::Setup => parts::setup(),
        Command::Test { only } => parts::test(only.as_deref()),
        Command::Fuzz { seconds, targets } => fuzz::fuzz(seconds, &targets),
        Command::Parity => python::parity(),
        Command::Golden { parts } => python::golden(&parts),
    }
}
