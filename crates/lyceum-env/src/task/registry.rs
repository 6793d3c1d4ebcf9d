//! Tasks by name.

use serde_json::{Map, Value};

use super::Task;
use super::chain::ChainTask;
use super::compose::ComposeTask;
use super::countdown::CountdownTask;
use super::facts::FactsTask;
use super::mistakes::MistakesTask;
use super::mix::MixTask;
use super::options::{TaskSpec, read};
use super::own_data::own_data;
use super::preferences::PreferencesTask;
use super::programs::ProgramsTask;
use super::public_data;
use crate::error::{Error, Result};

type Make = fn(Map<String, Value>) -> Result<Box<dyn Task>>;

/// One row a task: name and how it is made of its options.
const TASKS: [(&str, Make); 14] = [
    ("chain", |options| Ok(Box::new(ChainTask::new(read("chain", options)?)?))),
    ("countdown", |options| Ok(Box::new(CountdownTask::new(read("countdown", options)?)?))),
    ("compose", |options| Ok(Box::new(ComposeTask::new(read("compose", options)?)?))),
    ("facts", |options| Ok(Box::new(FactsTask::new(read("facts", options)?)?))),
    ("programs", |options| Ok(Box::new(ProgramsTask::new(read("programs", options)?)?))),
    ("gsm8k", |options| Ok(Box::new(public_data::gsm8k(options)?))),
    ("mawps", |options| Ok(Box::new(public_data::mawps(options)?))),
    ("svamp", |options| Ok(Box::new(public_data::svamp(options)?))),
    ("math500", |options| Ok(Box::new(public_data::math500(options)?))),
    ("bigbench_mistake", |options| Ok(Box::new(MistakesTask::new(options)?))),
    ("hh_harmless", |options| Ok(Box::new(PreferencesTask::harmless(options)?))),
    ("llmbar", |options| Ok(Box::new(PreferencesTask::llmbar(options)?))),
    ("jsonl", |options| Ok(Box::new(own_data(options)?))),
    ("mix", |options| Ok(Box::new(MixTask::new(options, open)?))),
];

/// The names of all tasks.
pub fn names() -> impl Iterator<Item = &'static str> {
    TASKS.iter().map(|&(name, _)| name)
}

/// Makes the task that a recipe names.
///
/// # Errors
/// [`Error::UnknownTask`] with the nearest name, [`Error::Option`], or what its data says.
pub fn open(spec: &TaskSpec) -> Result<Box<dyn Task>> {
    let Some((_, make)) = TASKS.iter().find(|(name, _)| *name == spec.name) else {
        return Err(Error::UnknownTask {
            name: spec.name.clone(),
            nearest: nearest(&spec.name, names()).map(str::to_owned),
            known: names().collect::<Vec<_>>().join(", "),
        });
    };
    make(spec.options.clone())
}

/// The known name most like `name`, if any is near enough to be a slip.
pub(crate) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    known
        .map(|candidate| (strsim::damerau_levenshtein(name, candidate), candidate))
        .min()
        .filter(|&(distance, candidate)| distance <= candidate.len().max(name.len()) / 3 + 1)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(toml: &str) -> TaskSpec {
        toml::from_str(toml).unwrap()
    }

    fn refusal(toml: &str) -> String {
        open(&spec(toml)).err().unwrap().to_string()
    }

    #[test]
    fn a_task_is_made_of_its_options() {
        let task = open(&spec("name = 'chain'\nsteps = [1, 1]\noperators = '+'")).unwrap();
        assert_eq!(task.name(), "chain");
        let problem = task.problem(crate::Split::Train, 0, 0).unwrap();
        assert!(problem.plain().contains('+') && !problem.plain().contains('*'));
    }

    #[test]
    fn slips_are_answered_with_the_nearest_name_or_the_known_keys() {
        assert_eq!(
            refusal("name = 'chian'"),
            format!(
                "no task is called `chian` (did you mean `chain`?); known tasks: {}",
                names().collect::<Vec<_>>().join(", ")
            )
        );
        assert!(!refusal("name = 'zzzzzzzzzzzz'").contains("did you mean"));
        assert!(
            refusal("name = 'chain'\nstep = [1, 1]")
                .contains("unknown field `step`, expected one of `steps`")
        );
    }
}
