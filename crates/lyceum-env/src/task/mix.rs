//! `mix`: several tasks as one.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::options::{TaskSpec, read};
use super::{Attempt, ComponentInfo, Preference, Problem, Split, Task, no_split};
use crate::error::{Error, Result};
use crate::reward::Component;

const NAME: &str = "mix";

/// Options of the task `mix`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MixOptions {
    /// The tasks. Only components that all of them give are given; each problem's `kind` is its task's name, with a number where
    /// several have the same.
    pub tasks: Vec<TaskSpec>,
}

/// The problems of several tasks: one task's after the other's where they are counted, in turn where they are endless.
pub struct MixTask {
    tasks: Vec<Box<dyn Task>>,
    kinds: Vec<String>,
    components: Vec<ComponentInfo>,
    splits: Vec<Split>,
}

impl MixTask {
    /// Opens the tasks, each by `open`: who knows all tasks knows this one, so this one is told how.
    ///
    /// # Errors
    /// [`Error::Option`] for no task, and for endless beside counted ones.
    pub fn new(
        options: Map<String, Value>,
        open: impl Fn(&TaskSpec) -> Result<Box<dyn Task>>,
    ) -> Result<Self> {
        let MixOptions { tasks } = read(NAME, options)?;
        let refuse = |message: &str| Err(Error::option(NAME, "tasks", message));
        let tasks: Vec<Box<dyn Task>> = tasks.iter().map(&open).collect::<Result<_>>()?;
        let Some(first) = tasks.first() else { return refuse("must name at least one task") };
        let common = |info: &&ComponentInfo| {
            tasks.iter().all(|task| task.components().iter().any(|other| other.name == info.name))
        };
        let components = first.components().iter().filter(common).copied().collect();
        let kind = |number: usize| {
            let task = &tasks[number];
            let alone = tasks.iter().filter(|other| other.name() == task.name()).count() == 1;
            if alone { task.name().to_owned() } else { format!("{}-{}", task.name(), number + 1) }
        };
        let kinds = (0..tasks.len()).map(kind).collect();
        let splits: Vec<Split> =
            first.splits().iter().copied().filter(|s| tasks.iter().all(|t| t.splits().contains(s))).collect();
        for &split in &splits {
            let counts = tasks.iter().map(|task| task.count(split)).collect::<Result<Vec<_>>>()?;
            if counts.iter().any(Option::is_none) != counts.iter().all(Option::is_none) {
                return refuse("must be all endless or all counted");
            }
        }
        Ok(Self { kinds, components, splits, tasks })
    }

    /// A problem of the task with this number: the number stands before its id, and it has that task's kind.
    fn owned(&self, number: usize, mut problem: Problem) -> Problem {
        problem.id = format!("{number}@{}", problem.id);
        problem.meta.insert("kind".into(), self.kinds[number].as_str().into());
        problem
    }

    /// The task that a problem is of.
    fn owner(&self, problem: &Problem) -> &dyn Task {
        let number = problem.id.split_once('@').and_then(|(number, _)| number.parse::<usize>().ok());
        number.and_then(|number| self.tasks.get(number)).unwrap_or(&self.tasks[0]).as_ref()
    }
}

/// The problem as its own task numbered it.
fn disowned(problem: &Problem) -> Problem {
    let id = problem.id.split_once('@').map_or(problem.id.as_str(), |(_, id)| id).to_owned();
    Problem { id, ..problem.clone() }
}

impl Task for MixTask {
    fn name(&self) -> &str {
        NAME
    }

    fn description(&self) -> &str {
        "several tasks as one"
    }

    fn splits(&self) -> &[Split] {
        &self.splits
    }

    fn count(&self, split: Split) -> Result<Option<u64>> {
        let mut sum = Some(0);
        for task in &self.tasks {
            sum = sum.zip(task.count(split)?).map(|(a, b)| a + b);
        }
        Ok(sum)
    }

    fn problem(&self, split: Split, seed: u64, index: u64) -> Result<Problem> {
        if !self.splits.contains(&split) {
            return Err(no_split(NAME, split, &self.splits));
        }
        let mut rest = index;
        for (number, task) in self.tasks.iter().enumerate() {
            match task.count(split)? {
                None => {
                    let turn = (index % self.tasks.len() as u64) as usize;
                    let problem = self.tasks[turn].problem(split, seed, index / self.tasks.len() as u64)?;
                    return Ok(self.owned(turn, problem));
                }
                Some(count) if rest < count => {
                    return Ok(self.owned(number, task.problem(split, seed, rest)?));
                }
                Some(count) => rest -= count,
            }
        }
        let len = self.count(split)?.unwrap_or(0);
        Err(Error::NoProblem { task: NAME.into(), split: split.to_string(), index, len })
    }

    fn components(&self) -> &[ComponentInfo] {
        &self.components
    }

    fn verify(&self, problem: &Problem, completion: &str) -> Vec<Component> {
        let mut found = self.owner(problem).verify(problem, completion);
        found.retain(|component| self.components.iter().any(|info| info.name == component.name));
        found
    }

    fn gold(&self, problem: &Problem) -> String {
        self.owner(problem).gold(problem)
    }

    fn documents(&self) -> Vec<(String, String)> {
        self.tasks.iter().flat_map(|task| task.documents()).collect()
    }

    fn attempt(&self, problem: &Problem) -> Option<Attempt> {
        let own = self.owner(problem);
        own.attempt(&disowned(problem))
    }

    fn preference(&self, problem: &Problem) -> Option<Preference> {
        self.owner(problem).preference(&disowned(problem))
    }

    fn judge(&self, problem: &Problem, steps: &[&str]) -> Option<Vec<f64>> {
        self.owner(problem).judge(&disowned(problem), steps)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::open;

    fn spec(tasks: &Value) -> Map<String, Value> {
        serde_json::json!({ "tasks": tasks }).as_object().unwrap().clone()
    }

    #[test]
    fn endless_tasks_take_turns_and_verify_their_own() {
        let easy = serde_json::json!({"name": "chain", "steps": [1, 1], "longer": [2, 2]});
        let hard = serde_json::json!({"name": "chain", "steps": [3, 3], "longer": [4, 4]});
        let mix = MixTask::new(spec(&serde_json::json!([easy, hard])), open).unwrap();
        let lines = |i| mix.problem(Split::Train, 0, i).unwrap().demonstration.unwrap().lines().count();
        assert_eq!((lines(0), lines(1), lines(2)), (2, 4, 2));
        let kind = |i| mix.problem(Split::Train, 0, i).unwrap().meta["kind"].clone();
        assert_eq!((kind(0), kind(1)), ("chain-1".into(), "chain-2".into()));
        let problem = mix.problem(Split::Train, 0, 1).unwrap();
        assert_eq!(mix.verify(&problem, &mix.gold(&problem))[0].score, Ok(1.0));
    }

    #[test]
    fn different_tasks_give_what_they_have_in_common() {
        let tasks = serde_json::json!([{"name": "chain"}, {"name": "programs"}]);
        let mix = MixTask::new(spec(&tasks), open).unwrap();
        let names = |names: Vec<&str>| assert_eq!(names, ["correct", "format"]);
        names(mix.components().iter().map(|info| info.name).collect());
        for index in 0..2 {
            let problem = mix.problem(Split::Train, 0, index).unwrap();
            let scores = mix.verify(&problem, &mix.gold(&problem));
            assert_eq!(scores[0].score, Ok(1.0));
            names(scores.iter().map(|component| component.name.as_ref()).collect());
        }
    }

    #[test]
    fn tasks_that_do_not_fit_are_refused() {
        let refusal = |tasks: &Value| MixTask::new(spec(tasks), open).err().unwrap().to_string();
        assert!(refusal(&serde_json::json!([])).contains("at least one"));
    }
}
