//! Tasks of questions with one final answer, checked exactly: what the data tasks and users' own data share.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{ComponentInfo, Message, Problem, Split, Task, no_split};
use crate::answer::{ExtractRule, Rules, Verdict, equivalent, extract_first};
use crate::error::{Error, Result};
use crate::reward::{Component, Range};

const COMPONENTS: [ComponentInfo; 2] = [
    ComponentInfo { name: "correct", range: Range::UNIT, about: "the final answer equals the gold one" },
    ComponentInfo { name: "format", range: Range::UNIT, about: "the answer is given in a marked place" },
];

/// Options that all question tasks have.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct QuestionOptions {
    /// The prompt, with `{question}` in it.
    pub prompt: String,
    /// Where the final answer is looked for: the first rule that finds one counts.
    pub extract: Vec<ExtractRule>,
    /// How answers are compared.
    pub rules: Rules,
    /// For gsm8k and svamp: demonstrations write their sums as calls of a tool with this tag.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub calculator: Option<String>,
}

impl Default for QuestionOptions {
    fn default() -> Self {
        Self {
            prompt: "{question}\nThink step by step, briefly. End with: The answer is \\boxed{number}."
                .to_owned(),
            extract: vec![ExtractRule::Boxed, ExtractRule::Hashes, ExtractRule::AnswerIs],
            rules: Rules::default(),
            calculator: None,
        }
    }
}

/// A row of a question task.
#[derive(Clone, Debug, PartialEq)]
pub struct Question {
    /// Names the row within its task.
    pub id: String,
    /// The prompt. A single user message goes through the prompt option; a conversation is taken as it is.
    pub asked: Asked,
    /// The gold final answer; may be empty where a reward command judges.
    pub answer: String,
    /// A full solution that ends in the answer.
    pub demonstration: Option<String>,
}

/// How a row asks.
#[derive(Clone, Debug, PartialEq)]
pub enum Asked {
    /// A question for the prompt option.
    Question(String),
    /// A whole conversation.
    Conversation(Vec<Message>),
}

/// A task of questions.
pub struct QuestionTask {
    name: String,
    description: String,
    options: QuestionOptions,
    splits: Vec<Split>,
    rows: Vec<Vec<Question>>,
}

impl QuestionTask {
    /// A task of the rows of each split.
    ///
    /// # Errors
    /// [`Error::Option`] for a prompt without a place for the question.
    pub fn new(
        name: &str,
        description: &str,
        options: QuestionOptions,
        splits: Vec<(Split, Vec<Question>)>,
    ) -> Result<Self> {
        if !options.prompt.contains("{question}") {
            return Err(Error::option(name, "prompt", "must contain {question}"));
        }
        let (splits, rows) = splits.into_iter().unzip();
        Ok(Self { name: name.to_owned(), description: description.to_owned(), options, splits, rows })
    }

    fn rows(&self, split: Split) -> Result<&[Question]> {
        let found = self.splits.iter().position(|&own| own == split);
        found.map(|i| self.rows[i].as_slice()).ok_or_else(|| no_split(&self.name, split, &self.splits))
    }
}

impl Task for QuestionTask {
    fn name(&self) -> &str {
        &self.name
    }

    fn description(&self) -> &str {
        &self.description
    }

    fn splits(&self) -> &[Split] {
        &self.splits
    }

    fn count(&self, split: Split) -> Result<Option<u64>> {
        Ok(Some(self.rows(split)?.len() as u64))
    }

    fn problem(&self, split: Split, _seed: u64, index: u64) -> Result<Problem> {
        let rows = self.rows(split)?;
        let Some(row) = usize::try_from(index).ok().and_then(|index| rows.get(index)) else {
            let (task, split, len) = (self.name.clone(), split.to_string(), rows.len() as u64);
            return Err(Error::NoProblem { task, split, index, len });
        };
        let mut meta = Map::new();
        let messages = match &row.asked {
            Asked::Conversation(messages) => messages.clone(),
            Asked::Question(question) => {
                meta.insert("question".into(), Value::from(question.as_str()));
                vec![Message::user(self.options.prompt.replace("{question}", question))]
            }
        };
        Ok(Problem {
            id: format!("{}/{split}/{}", self.name, row.id),
            messages,
            answer: row.answer.clone(),
            demonstration: row.demonstration.clone(),
            meta,
        })
    }

    fn components(&self) -> &[ComponentInfo] {
        &COMPONENTS
    }

    fn verify(&self, problem: &Problem, completion: &str) -> Vec<Component> {
        let given = extract_first(completion, &self.options.extract);
        let correct = given.as_ref().is_some_and(|given| {
            !problem.answer.is_empty()
                && equivalent(&problem.answer, given, &self.options.rules) == Verdict::Equal
        });
        let marked: Vec<ExtractRule> =
            self.options.extract.iter().filter(|rule| **rule != ExtractRule::LastNumber).cloned().collect();
        let format = extract_first(completion, &marked).is_some();
        vec![Component::holds("correct", correct), Component::holds("format", format)]
    }

    fn gold(&self, problem: &Problem) -> String {
        match self.options.extract.first() {
            Some(ExtractRule::Hashes) => format!("#### {}", problem.answer),
            Some(ExtractRule::Tag(tag)) => format!("<{tag}>{}</{tag}>", problem.answer),
            Some(ExtractRule::AnswerIs) => format!("The answer is {}", problem.answer),
            Some(ExtractRule::Boxed | ExtractRule::LastNumber) | None => {
                format!("The answer is \\boxed{{{}}}.", problem.answer)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task() -> QuestionTask {
        let row = Question {
            id: "0".into(),
            asked: Asked::Question("2 + 2?".into()),
            answer: "4".into(),
            demonstration: None,
        };
        QuestionTask::new("toy", "", QuestionOptions::default(), vec![(Split::Train, vec![row])]).unwrap()
    }

    #[test]
    fn right_wrong_and_unmarked_answers() {
        let (task, problem) = (task(), task().problem(Split::Train, 0, 0).unwrap());
        let scores = |text: &str| -> Vec<f64> {
            task.verify(&problem, text).into_iter().map(|c| c.score.unwrap()).collect()
        };
        assert_eq!(scores(&task.gold(&problem)), [1.0, 1.0]);
        assert_eq!(scores("The answer is \\boxed{5}."), [0.0, 1.0]);
        assert_eq!(scores("It is 4"), [0.0, 0.0]);
        assert_eq!(scores(""), [0.0, 0.0]);
    }

    #[test]
    fn missing_splits_and_numbers_are_named() {
        let task = task();
        let missing = task.problem(Split::Heldout, 0, 0).unwrap_err().to_string();
        assert_eq!(missing, "task toy has no split `heldout`; it has train");
        assert!(task.problem(Split::Train, 0, 1).unwrap_err().to_string().contains("no problem 1, it has 1"));
    }
}
