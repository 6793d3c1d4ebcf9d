//! One problem: what the model is asked and what is known about the answer.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Who speaks in a chat.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Sets the frame.
    System,
    /// Asks.
    User,
    /// Answers.
    Assistant,
}

impl Role {
    /// The name that chat templates use.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::User => "user",
            Self::Assistant => "assistant",
        }
    }
}

/// One message of a prompt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// What is said.
    pub content: String,
}

impl Message {
    /// A message of the user.
    pub fn user(content: impl Into<String>) -> Self {
        Self { role: Role::User, content: content.into() }
    }
}

/// A problem of a task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Problem {
    /// Unique within the task: `chain/train/0/17`, `gsm8k/heldout/3`.
    pub id: String,
    /// The prompt. A model with a chat template sees it through the template; one without sees [`Problem::plain`].
    pub messages: Vec<Message>,
    /// The gold final answer. Empty if the row brought none (a reward command may not need one).
    pub answer: String,
    /// A full solution that ends in the gold answer, for supervised training, if the task has one.
    pub demonstration: Option<String>,
    /// What else the task knows: question, difficulty, source row.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub meta: Map<String, Value>,
}

impl Problem {
    /// The prompt as a chat template takes it.
    #[must_use]
    pub fn conversation(&self) -> Vec<lyceum_text::Message> {
        self.messages.iter().map(|m| lyceum_text::Message::new(m.role.name(), m.content.as_str())).collect()
    }

    /// The prompt for a model without a chat template: the contents joined, nothing added.
    #[must_use]
    pub fn plain(&self) -> String {
        self.messages.iter().map(|m| m.content.as_str()).collect::<Vec<_>>().join("\n")
    }
}
