//! Which problems come when: a finite set of them, stages by kind, and history resampling (SRPO, arXiv 2504.14286).

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use lyceum_env::{Split, Task};
use lyceum_stats::{Draw, Purpose};
use rand::Rng;
use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// The recipe's table `policy.curriculum`. Without it all training problems come in a fresh random order every epoch.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CurriculumSpec {
    /// Only the first so many training problems, again and again; all of a finite task when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problems: Option<u64>,
    /// Stages one after the other. The last one lasts to the end of the run.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub stages: Vec<Stage>,
    /// What an epoch's outcomes mean for the next one.
    pub history: History,
    /// Share of the dropped problems that are tried again in every epoch.
    pub readmit: f64,
}

/// The largest set of problems: its order is kept in memory.
const MOST_PROBLEMS: u64 = 10_000_000;

/// A stretch of a run with problems of some kinds only.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Stage {
    /// Rounds that it lasts; to the end when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub updates: Option<u64>,
    /// Kinds of problems that come; all when empty.
    pub kinds: Vec<String>,
}

/// What an epoch's outcomes mean for the next one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum History {
    /// Nothing.
    #[default]
    Ignore,
    /// Problems whose samples were all right do not come again; those whose samples were all wrong do, as the policy may
    /// solve them next time.
    Resample,
}

/// How many of a problem's samples were right.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Right samples.
    pub right: u64,
    /// All of them.
    pub all: u64,
}

impl Tally {
    /// Whether nothing is left to learn from the problem: all its samples were right.
    ///
    /// ```
    /// use lyceum_rl::curriculum::Tally;
    /// let solved = |right, all| Tally { right, all }.is_solved();
    /// assert!(solved(8, 8) && !solved(7, 8) && !solved(0, 8) && !solved(0, 0));
    /// ```
    #[must_use]
    pub const fn is_solved(self) -> bool {
        self.all > 0 && self.right == self.all
    }
}

impl CurriculumSpec {
    /// Whether the order of problems depends on anything but the round.
    #[must_use]
    pub fn has_state(&self) -> bool {
        *self != Self::default()
    }

    /// Checks what the types can't.
    ///
    /// # Errors
    /// [`Error::Config`] naming the key.
    pub fn validate(&self) -> Result<()> {
        let refuse = |message: &str| Err(Error::Config(message.into()));
        if self.problems.is_some_and(|problems| !(1..=MOST_PROBLEMS).contains(&problems)) {
            return refuse("policy.curriculum.problems must be between 1 and 10000000");
        }
        if !(0.0..=1.0).contains(&self.readmit) {
            return refuse("policy.curriculum.readmit must be a share between 0 and 1");
        }
        if self.stages.iter().rev().skip(1).any(|stage| stage.updates.is_none()) {
            return refuse("policy.curriculum.stages: every stage but the last needs updates");
        }
        Ok(())
    }

    /// The stage of a round, which counts from 0.
    fn stage(&self, round: u64) -> usize {
        let mut ends = 0u64;
        let over = self.stages.iter().take_while(|stage| {
            ends = ends.saturating_add(stage.updates.unwrap_or(u64::MAX));
            ends <= round
        });
        over.count().min(self.stages.len().saturating_sub(1))
    }
}

/// How far a run is through its curriculum; part of every checkpoint.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Curriculum {
    epoch: u64,
    stage: usize,
    /// Problems still to come in this epoch.
    queue: VecDeque<u64>,
    /// Outcomes in this epoch.
    tallies: BTreeMap<u64, Tally>,
    /// Problems that do not come again.
    dropped: BTreeSet<u64>,
}

impl Curriculum {
    /// The numbers of the next `count` training problems.
    ///
    /// # Errors
    /// [`Error::Config`] when the set is endless or a stage has no problem; [`Error::Env`] for a task without training.
    pub fn next(
        &mut self,
        spec: &CurriculumSpec,
        task: &dyn Task,
        seed: u64,
        round: u64,
        count: usize,
    ) -> Result<Vec<u64>> {
        let stage = spec.stage(round);
        if stage != self.stage {
            self.stage = stage;
            self.queue.clear();
        }
        let mut numbers = Vec::with_capacity(count);
        while numbers.len() < count {
            if self.queue.is_empty() {
                self.begin_epoch(spec, task, seed)?;
            }
            numbers.extend(self.queue.pop_front());
        }
        Ok(numbers)
    }

    /// Takes note of what became of a problem's samples.
    pub fn note(&mut self, number: u64, tally: Tally) {
        let known = self.tallies.entry(number).or_default();
        known.right += tally.right;
        known.all += tally.all;
    }

    /// Epochs begun, and problems that no longer come.
    #[must_use]
    pub fn progress(&self) -> (u64, usize) {
        (self.epoch, self.dropped.len())
    }

    fn begin_epoch(&mut self, spec: &CurriculumSpec, task: &dyn Task, seed: u64) -> Result<()> {
        let tallies = std::mem::take(&mut self.tallies);
        if spec.history == History::Resample {
            let solved = tallies.into_iter().filter(|(_, tally)| tally.is_solved());
            self.dropped.extend(solved.map(|(number, _)| number));
        }
        self.epoch += 1;
        let mut random = Draw { seed, step: self.epoch, prompt: 0, sample: 0 }.rng(Purpose::Sampler);
        if spec.readmit > 0.0 {
            self.dropped.retain(|_| !random.random_bool(spec.readmit));
        }
        let fitting = self.fitting(spec, task, seed)?;
        let mut queue: Vec<u64> = fitting.iter().copied().filter(|n| !self.dropped.contains(n)).collect();
        if queue.is_empty() {
            // All are solved: what was dropped is all there is to practise on.
            queue.clone_from(&fitting);
            fitting.iter().for_each(|number| _ = self.dropped.remove(number));
        }
        queue.shuffle(&mut random);
        self.queue = queue.into();
        Ok(())
    }

    /// The problems of the stage.
    fn fitting(&self, spec: &CurriculumSpec, task: &dyn Task, seed: u64) -> Result<Vec<u64>> {
        let there = task.count(Split::Train)?;
        let count = spec.problems.unwrap_or(u64::MAX).min(there.unwrap_or(u64::MAX));
        if count == u64::MAX {
            let message = "policy.curriculum needs a finite set of problems; give policy.curriculum.problems";
            return Err(Error::Config(message.into()));
        }
        let kinds = spec.stages.get(self.stage).map(|stage| stage.kinds.as_slice()).unwrap_or_default();
        let mut fitting = Vec::new();
        for number in 0..count {
            let of_kind = |kind: &str| kinds.iter().any(|wanted| wanted == kind);
            let fits = kinds.is_empty()
                || task
                    .problem(Split::Train, seed, number)?
                    .meta
                    .get("kind")
                    .is_some_and(|kind| kind.as_str().is_some_and(of_kind));
            if fits {
                fitting.push(number);
            }
        }
        if fitting.is_empty() {
            let message = format!(
                "policy.curriculum.stages: none of the {count} problems is of the kinds {}",
                kinds.join(", ")
            );
            return Err(Error::Config(message));
        }
        Ok(fitting)
    }
}

#[cfg(test)]
mod tests {
    use lyceum_env::task;

    use super::*;

    fn chain() -> Box<dyn Task> {
        task::open(&serde_json::from_value(serde_json::json!({"name": "chain"})).unwrap()).unwrap()
    }

    fn spec(json: serde_json::Value) -> CurriculumSpec {
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn solved_problems_leave_and_hopeless_ones_stay() {
        let (task, spec) = (chain(), spec(serde_json::json!({"problems": 3, "history": "resample"})));
        let mut curriculum = Curriculum::default();
        let epoch = |curriculum: &mut Curriculum, count| {
            let mut numbers = curriculum.next(&spec, task.as_ref(), 1, 0, count).unwrap();
            numbers.sort_unstable();
            numbers
        };
        assert_eq!(epoch(&mut curriculum, 3), [0, 1, 2]);
        for (number, right) in [(0, 8), (1, 3), (2, 0)] {
            curriculum.note(number, Tally { right, all: 8 });
        }
        assert_eq!(epoch(&mut curriculum, 2), [1, 2]);
        for number in [1, 2] {
            curriculum.note(number, Tally { right: 8, all: 8 });
        }
        // When all are solved they come again.
        assert_eq!(epoch(&mut curriculum, 3), [0, 1, 2]);
        assert_eq!(curriculum.progress(), (3, 0));
    }

    #[test]
    fn it_goes_on_from_what_was_saved() {
        let (task, spec) = (chain(), spec(serde_json::json!({"problems": 7, "history": "resample"})));
        let mut whole = Curriculum::default();
        let run = |curriculum: &mut Curriculum, rounds: std::ops::Range<u64>| -> Vec<Vec<u64>> {
            let one = |round| {
                let numbers = curriculum.next(&spec, task.as_ref(), 5, round, 3).unwrap();
                numbers.iter().for_each(|&n| curriculum.note(n, Tally { right: n % 3 / 2, all: 1 }));
                numbers
            };
            rounds.map(one).collect()
        };
        let expected = run(&mut whole, 0..12);
        let mut part = Curriculum::default();
        let mut found = run(&mut part, 0..5);
        let saved = serde_json::to_string(&part).unwrap();
        found.extend(run(&mut serde_json::from_str(&saved).unwrap(), 5..12));
        assert_eq!(found, expected);
    }

    #[test]
    fn stages_choose_kinds() {
        let spec = spec(serde_json::json!({"stages": [{"updates": 2, "kinds": ["a"]}, {"updates": 3}, {}]}));
        assert_eq!([0, 1, 2, 4, 5, 99].map(|round| spec.stage(round)), [0, 0, 1, 1, 2, 2]);
        let nothing = CurriculumSpec { problems: Some(5), ..spec };
        let refused =
            Curriculum::default().next(&nothing, chain().as_ref(), 1, 0, 2).unwrap_err().to_string();
        assert!(refused.contains("kinds a"), "{refused}");
        let endless = CurriculumSpec { history: History::Resample, ..CurriculumSpec::default() };
        let refused =
            Curriculum::default().next(&endless, chain().as_ref(), 1, 0, 2).unwrap_err().to_string();
        assert!(refused.contains("policy.curriculum.problems"), "{refused}");
    }
}
