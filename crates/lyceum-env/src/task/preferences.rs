//! Pairs of answers of which people preferred one: `hh_harmless` and `llmbar`. The pairs are what these tasks are for; nothing a
//! policy says of its own is called right.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::keyed::is_heldout;
use super::options::read;
use super::public_data::read_lines;
use super::{ComponentInfo, Message, Preference, Problem, Role, Split, Task, no_split};
use crate::error::{Error, Result};
use crate::reward::{Component, Range};

const SPLITS: [Split; 2] = [Split::Train, Split::Heldout];
const HELDOUT_PERCENT: u64 = 20;
const SUBSETS: [&str; 5] = ["natural", "adv_gptinst", "adv_gptout", "adv_manual", "adv_neighbor"];
const COMPONENTS: [ComponentInfo; 1] =
    [ComponentInfo { name: "correct", range: Range::UNIT, about: "the preferred answer, word for word" }];

/// Options of `hh_harmless`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HarmlessOptions {
    /// Pairs with more characters, dialogue and longer answer together, are left out.
    pub longest: usize,
}

impl Default for HarmlessOptions {
    fn default() -> Self {
        Self { longest: 1_500 }
    }
}

/// Options of `llmbar`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LlmbarOptions {
    /// Which of the five files.
    pub subsets: Vec<String>,
    /// Pairs with more characters are left out.
    pub longest: usize,
}

impl Default for LlmbarOptions {
    fn default() -> Self {
        Self { subsets: SUBSETS.map(str::to_owned).to_vec(), longest: 2_500 }
    }
}

#[derive(Deserialize)]
struct Dialogues {
    chosen: String,
    rejected: String,
}

#[derive(Deserialize)]
struct Outputs {
    input: String,
    output_1: String,
    output_2: String,
    label: u8,
}

/// A task of preferences.
pub struct PreferencesTask {
    name: &'static str,
    description: &'static str,
    splits: [Vec<(Problem, Preference)>; 2],
}

impl PreferencesTask {
    /// Dialogues in which the less harmful last answer was preferred (Anthropic's hh-rlhf, harmless-base). Rows whose dialogues
    /// differ before the last answer, or in which an answer is empty, are left out.
    ///
    /// # Errors
    /// What the file says.
    pub fn harmless(options: Map<String, Value>) -> Result<Self> {
        let HarmlessOptions { longest } = read("hh_harmless", options)?;
        let folder = lyceum_hub::data::pull("hh_harmless_base", &lyceum_hub::Silent)?;
        let rows: Vec<Dialogues> = read_lines(&folder.join("test.jsonl"))?;
        let pairs = rows.into_iter().enumerate().filter_map(|(index, row)| {
            let ((before, chosen), (other, rejected)) = (last_turn(&row.chosen)?, last_turn(&row.rejected)?);
            let preference = Preference { chosen: chosen.to_owned(), rejected: rejected.to_owned() };
            let usable = before == other && !chosen.is_empty() && !rejected.is_empty() && chosen != rejected;
            let length = before.len() + chosen.len().max(rejected.len());
            (usable && length <= longest).then(|| (index, messages_of(before), preference))
        });
        Ok(Self::new("hh_harmless", "dialogues in which people preferred the less harmful answer", pairs))
    }

    /// Answers to instructions, of which one follows the instruction and the other may only look better (LLMBar, arXiv
    /// 2310.07641).
    ///
    /// # Errors
    /// [`Error::Option`] for an unknown subset, and what the files say.
    pub fn llmbar(options: Map<String, Value>) -> Result<Self> {
        let options: LlmbarOptions = read("llmbar", options)?;
        let folder = lyceum_hub::data::pull("llmbar", &lyceum_hub::Silent)?;
        let mut pairs = Vec::new();
        for subset in &options.subsets {
            if !SUBSETS.contains(&subset.as_str()) {
                let known = format!("has no {subset:?}; there are {}", SUBSETS.join(", "));
                return Err(Error::option("llmbar", "subsets", known));
            }
            let path = folder.join(format!("{subset}.json"));
            let text = std::fs::read_to_string(&path).map_err(|source| Error::Read {
                path: path.clone(),
                source,
                remedy: "pull the data anew with `lyceum data pull llmbar`".into(),
            })?;
            let rows: Vec<Outputs> = serde_json::from_str(&text)
                .map_err(|error| Error::Data { path: path.clone(), message: error.to_string() })?;
            for row in rows {
                let (chosen, rejected) = match row.label {
                    1 => (row.output_1, row.output_2),
                    _ => (row.output_2, row.output_1),
                };
                let length = row.input.len() + chosen.len().max(rejected.len());
                if length <= options.longest {
                    let message = Message::user(row.input);
                    pairs.push((pairs.len(), vec![message], Preference { chosen, rejected }));
                }
            }
        }
        Ok(Self::new("llmbar", "answers of which one follows its instruction", pairs.into_iter()))
    }

    fn new(
        name: &'static str,
        description: &'static str,
        pairs: impl Iterator<Item = (usize, Vec<Message>, Preference)>,
    ) -> Self {
        let mut splits = [Vec::new(), Vec::new()];
        for (index, messages, preference) in pairs {
            let text: Vec<&str> = messages.iter().map(|message| message.content.as_str()).collect();
            let side = usize::from(is_heldout(&text.join("\n"), HELDOUT_PERCENT));
            let problem = Problem {
                id: format!("{name}/{index}"),
                messages,
                answer: preference.chosen.clone(),
                demonstration: Some(preference.chosen.clone()),
                meta: Map::new(),
            };
            splits[side].push((problem, preference));
        }
        Self { name, description, splits }
    }

    fn rows(&self, split: Split) -> Result<&[(Problem, Preference)]> {
        let at = SPLITS.iter().position(|known| *known == split);
        at.map(|at| self.splits[at].as_slice()).ok_or_else(|| no_split(self.name, split, &SPLITS))
    }
}

const HUMAN: &str = "\n\nHuman:";
const ASSISTANT: &str = "\n\nAssistant:";

/// A dialogue up to its last answer, and that answer.
fn last_turn(dialogue: &str) -> Option<(&str, &str)> {
    let (before, answer) = dialogue.rsplit_once(ASSISTANT)?;
    Some((before, answer.trim()))
}

/// The turns of a dialogue.
fn messages_of(dialogue: &str) -> Vec<Message> {
    let mut messages = Vec::new();
    for turn in dialogue.split(HUMAN) {
        let mut sides = turn.split(ASSISTANT);
        let mut take = |role| {
            let said = sides.next().map(str::trim).filter(|text| !text.is_empty());
            messages.extend(said.map(|text| Message { role, content: text.to_owned() }));
        };
        take(Role::User);
        take(Role::Assistant);
    }
    messages
}

impl Task for PreferencesTask {
    fn name(&self) -> &str {
        self.name
    }

    fn description(&self) -> &str {
        self.description
    }

    fn splits(&self) -> &[Split] {
        &SPLITS
    }

    fn count(&self, split: Split) -> Result<Option<u64>> {
        Ok(Some(self.rows(split)?.len() as u64))
    }

    fn problem(&self, split: Split, _seed: u64, index: u64) -> Result<Problem> {
        let rows = self.rows(split)?;
        let row = usize::try_from(index).ok().and_then(|index| rows.get(index));
        row.map(|(problem, _)| problem.clone()).ok_or_else(|| Error::NoProblem {
            task: self.name.into(),
            split: split.to_string(),
            index,
            len: rows.len() as u64,
        })
    }

    fn components(&self) -> &[ComponentInfo] {
        &COMPONENTS
    }

    fn verify(&self, problem: &Problem, completion: &str) -> Vec<Component> {
        vec![Component::holds("correct", completion.trim() == problem.answer.trim())]
    }

    fn gold(&self, problem: &Problem) -> String {
        problem.answer.clone()
    }

    fn preference(&self, problem: &Problem) -> Option<Preference> {
        let all = self.splits.iter().flatten();
        all.into_iter().find(|(own, _)| own.id == problem.id).map(|(_, preference)| preference.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dialogue_is_read_turn_by_turn() {
        let (before, answer) =
            last_turn("\n\nHuman: a\n\nAssistant: b\n\nHuman: c\nd\n\nAssistant: e").unwrap();
        assert_eq!(answer, "e");
        let said: Vec<(Role, String)> =
            messages_of(before).into_iter().map(|m| (m.role, m.content)).collect();
        let expected = [(Role::User, "a"), (Role::Assistant, "b"), (Role::User, "c\nd")];
        assert_eq!(said, expected.map(|(role, text)| (role, text.to_owned())));
        assert_eq!(last_turn("no dialogue"), None);
    }

    #[test]
    #[ignore = "needs LYCEUM_DATA"]
    fn needs_data_pairs_are_there_and_no_prompt_is_on_both_sides() {
        for task in
            [PreferencesTask::harmless(Map::new()).unwrap(), PreferencesTask::llmbar(Map::new()).unwrap()]
        {
            let prompts = |split| -> std::collections::HashSet<String> {
                (0..task.count(split).unwrap().unwrap())
                    .map(|index| {
                        let problem = task.problem(split, 0, index).unwrap();
                        let pair = task.preference(&problem).unwrap();
                        assert_ne!(pair.chosen, pair.rejected);
                        problem.plain()
                    })
                    .collect()
            };
            let (train, heldout) = (prompts(Split::Train), prompts(Split::Heldout));
            assert!(train.len() > 60 && heldout.len() > 15 && train.is_disjoint(&heldout));
        }
    }
}
