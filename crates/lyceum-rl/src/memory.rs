//! What a run of reinforcement learning remembers beyond its weights; part of every checkpoint.

use lyceum_env::reward::Fewest;
use lyceum_run::Row;
use lyceum_trace::Trace;
use serde::{Deserialize, Serialize};

use crate::curriculum::Curriculum;
use crate::replay::Replay;

/// The memory of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Memory {
    /// How far it is through its problems.
    pub curriculum: Curriculum,
    /// States to begin rollouts from.
    pub replay: Replay,
    /// The fewest calls of tools that problems were solved with.
    pub fewest: Fewest,
    /// Groups that wait for an update.
    pub gathered: Vec<Vec<Trace>>,
    /// What its rollouts have cost.
    pub spent: Spent,
}

/// What rollouts have cost since the run began. Methods are compared at equal cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spent {
    /// Tokens sampled.
    pub tokens: u64,
    /// Samples drawn, each verified once.
    pub samples: u64,
}

impl Spent {
    /// Adds the cost of a round and logs the sums.
    pub fn add(&mut self, groups: &[Vec<Trace>], row: &mut Row) {
        for trace in groups.iter().flatten() {
            self.tokens += trace.cost.generated_tokens;
            self.samples += 1;
        }
        row.set("spent/tokens", self.tokens as f64);
        row.set("spent/samples", self.samples as f64);
    }
}
