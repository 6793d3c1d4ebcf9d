//! PLACEHOLDER
use lyceum_trace::Trace;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RewardSpec {
    pub weights: BTreeMap<String, f64>,
}
pub struct Rewards(RewardSpec);
impl Rewards {
    pub fn open(spec: &RewardSpec) -> Self {
        Self(spec.clone())
    }
    pub fn score(&mut self, traces: &mut [Trace]) {
        for t in traces {
            t.total = t.rewards.get("correct").and_then(|s| s.value());
        }
    }
}
