//! What a recipe says of tools.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::Result;
use crate::error::Error;
use crate::task::nearest;

/// The recipe's table `tools`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ToolsSpec {
    /// Most calls of a sample. After the last one the model goes on, and what looks like a call is text.
    pub limit: usize,
    /// How a call is written.
    pub form: Form,
    /// What a reply becomes, with `{result}` in it.
    pub observation: String,
    /// Most characters of a result.
    pub longest: usize,
    /// The tools.
    #[serde(rename = "use")]
    pub uses: Vec<ToolSpec>,
}

impl Default for ToolsSpec {
    fn default() -> Self {
        Self {
            limit: 4,
            form: Form::default(),
            observation: "\n<observation>{result}</observation>\n".into(),
            longest: 2_000,
            uses: Vec::new(),
        }
    }
}

/// How a call is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Form {
    /// `<search>key</search>`.
    #[default]
    Tag,
    /// `<tool_call>{"name": "search", "arguments": {"key": "..."}}</tool_call>`.
    Json,
}

/// A tool: `calculator`, `search`, `stack`, or a program of one's own with a name of one's own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ToolSpec {
    /// Its name.
    pub name: String,
    /// What the model writes to call it; the name when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// For `search`: a JSONL file of `{"key", "text"}`. The task's own documents when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<PathBuf>,
    /// A program that reads and writes JSON lines (see [`CommandTool`](super::CommandTool)).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<Vec<String>>,
    /// Seconds that the program may take for an answer; 10 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<f64>,
    /// Seconds more for its first answer; 30 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub startup: Option<f64>,
}

/// Tools that need no program.
const BUILT_IN: [&str; 3] = ["calculator", "search", "stack"];

impl ToolSpec {
    /// What the model writes to call it.
    #[must_use]
    pub fn tag(&self) -> &str {
        self.tag.as_deref().unwrap_or(&self.name)
    }

    fn check(&self) -> Result<()> {
        let refuse =
            |message: String| Err(Error::option("tools", "use", format!("{}: {message}", self.name)));
        let word = |text: &str| {
            !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
        };
        if !word(self.tag()) {
            return refuse("a tag is made of letters, digits, _ and -".into());
        }
        if self.command.as_ref().is_some_and(Vec::is_empty) {
            return refuse("command must name a program, as in [\"python3\", \"tool.py\"]".into());
        }
        if self.command.is_none() && !BUILT_IN.contains(&self.name.as_str()) {
            let near = nearest(&self.name, BUILT_IN.into_iter());
            let near = near.map_or_else(String::new, |name| format!(" (did you mean `{name}`?)"));
            return refuse(format!(
                "no such tool{near}; there are {}, or give a command",
                BUILT_IN.join(", ")
            ));
        }
        if self.data.is_some() && (self.command.is_some() || self.name != "search") {
            return refuse("data is for search".into());
        }
        for (key, seconds) in [("deadline", self.deadline), ("startup", self.startup)] {
            if seconds.is_some_and(|seconds| self.command.is_none() || !(0.001..=86_400.0).contains(&seconds))
            {
                return refuse(format!(
                    "{key} is seconds between 0.001 and 86400, for a tool with a command"
                ));
            }
        }
        Ok(())
    }
}

impl ToolsSpec {
    /// Checks what serde can't.
    ///
    /// # Errors
    /// [`Error::Option`] names the key.
    pub fn check(&self) -> Result<()> {
        let refuse = |option: &str, message: &str| Err(Error::option("tools", option, message));
        if self.uses.is_empty() {
            return refuse("use", "must name at least one tool");
        }
        if !self.observation.contains("{result}") {
            return refuse("observation", "must contain {result}");
        }
        for (at, one) in self.uses.iter().enumerate() {
            one.check()?;
            if self.uses[..at].iter().any(|other| other.tag() == one.tag()) {
                return refuse("use", &format!("names {} twice; give one of them another tag", one.tag()));
            }
        }
        Ok(())
    }
}
