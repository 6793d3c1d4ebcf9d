//! What the last bits of a run depend on beside its recipe: the number of threads and the instruction set.

use std::fmt;

use lyceum_kernels::{Level, Pool};
use lyceum_run::Recipe;

/// How a run computes. The same on resumption gives the same bits; another does not, though nothing is wrong with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arithmetic {
    /// Threads that work is divided among.
    pub threads: usize,
    /// Instruction set of the kernels.
    pub level: Level,
}

const THREADS: &str = "threads";
const LEVEL: &str = "cpu-level";

impl Arithmetic {
    /// That of a pool.
    pub fn of(pool: &Pool) -> Self {
        Self { threads: pool.threads(), level: pool.level() }
    }

    /// Writes it into the recipe of a run that begins.
    pub fn record<T>(&self, recipe: &mut Recipe<T>) {
        recipe.record(THREADS, &self.threads.to_string());
        recipe.record(LEVEL, self.level.name());
    }

    /// What the run of a recipe began with; `None` where the recipe does not say, or says what this program does not
    /// know.
    pub fn recorded<T>(recipe: &Recipe<T>) -> Option<Self> {
        let records = recipe.pins();
        let threads = records.get(THREADS)?.parse().ok()?;
        Some(Self { threads, level: records.get(LEVEL)?.parse().ok()? })
    }
}

impl fmt::Display for Arithmetic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let threads = if self.threads == 1 { "thread" } else { "threads" };
        write!(f, "{} {threads} at {}", self.threads, self.level)
    }
}
