//! Tools: what a model can ask in the middle of its answer.
//!
//! A call is text that the model writes, in tags of the tool's name or as JSON; a [`Toolbox`] reads it, has it answered, and
//! makes of the reply the words that the model goes on from. A malformed call is answered too, with a text that corrects it.

mod calculator;
mod command;
mod search;
mod spec;
pub mod stack;

use std::sync::LazyLock;

use lyceum_text::TagGrammar;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use calculator::Calculator;
pub use command::CommandTool;
pub use search::Search;
pub use spec::{Form, ToolSpec, ToolsSpec};

use crate::Result;
use crate::error::Error;

/// Something that a model can ask in the middle of its answer.
pub trait Tool: Send + Sync {
    /// Its name.
    fn name(&self) -> &str;

    /// What it does, in a line.
    fn description(&self) -> &str;

    /// Whether its answers come from outside this process: they are journalled, so that a resumed run hears them again.
    fn asks_outside(&self) -> bool {
        false
    }

    /// Answers a call; bounded in time, whatever the argument.
    fn answer(&self, argument: &str) -> Reply;
}

/// What becomes of a call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// The tool's answer.
    Said(String),
    /// The call was wrong; the text corrects it.
    Refused(String),
    /// The tool broke; the cause. A fault of the trace.
    Failed(String),
}

/// A call as the model wrote it.
#[derive(Clone, Debug, PartialEq)]
pub struct Called {
    /// Where it begins in the text of its turn, in bytes.
    pub start: usize,
    /// The name that the model wrote.
    pub name: String,
    /// The argument that it wrote.
    pub argument: Value,
    /// Which of the box's tools is called, or why none is: a text that corrects the model.
    tool: std::result::Result<usize, String>,
}

/// The tools of a run.
pub struct Toolbox {
    spec: ToolsSpec,
    tools: Vec<Box<dyn Tool>>,
    tags: Vec<String>,
    grammar: TagGrammar,
}

/// Failures in a row after which a turn's other calls are given up.
const HOPELESS: usize = 3;

/// The tag of calls in JSON.
const JSON_TAG: &str = "tool_call";

impl Toolbox {
    /// Makes the tools of a specification. `documents` are what the task offers to be found, as (key, text).
    ///
    /// # Errors
    /// [`Error::Option`] for tools that can't be made, and what a data file says.
    pub fn open(spec: &ToolsSpec, documents: &[(String, String)]) -> Result<Self> {
        spec.check()?;
        let make = |one: &ToolSpec| -> Result<Box<dyn Tool>> {
            Ok(match (&one.command, one.name.as_str()) {
                (Some(_), _) => Box::new(CommandTool::new(one)),
                (None, "calculator") => Box::new(Calculator),
                (None, "stack") => Box::new(stack::Stack),
                _ => match &one.data {
                    Some(path) => Box::new(Search::read(path)?),
                    None if documents.is_empty() => {
                        let message =
                            "has nothing to search: give `data`, a JSONL file of {\"key\", \"text\"}";
                        return Err(Error::option("tools", "use", message));
                    }
                    None => Box::new(Search::new(documents.to_vec())),
                },
            })
        };
        let tools = spec.uses.iter().map(make).collect::<Result<_>>()?;
        let tags: Vec<String> = match spec.form {
            Form::Tag => spec.uses.iter().map(|one| one.tag().to_owned()).collect(),
            Form::Json => vec![JSON_TAG.to_owned()],
        };
        let grammar = TagGrammar::new(tags.iter().map(String::as_str));
        Ok(Self { spec: spec.clone(), tools, tags, grammar })
    }

    /// Most calls of a sample.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.spec.limit
    }

    /// Names and descriptions.
    pub fn tools(&self) -> impl Iterator<Item = &dyn Tool> {
        self.tools.iter().map(AsRef::as_ref)
    }

    /// Whether an answer may come from outside this process.
    #[must_use]
    pub fn asks_outside(&self) -> bool {
        self.tools.iter().any(|tool| tool.asks_outside())
    }

    /// The strings that complete a call.
    #[must_use]
    pub fn stops(&self) -> Vec<String> {
        self.tags.iter().map(|tag| format!("</{tag}>")).collect()
    }

    /// Reads the call that ends a turn: `text` is the turn up to `stop`, one of [`stops`](Self::stops), without it. `None` for
    /// any other stop.
    #[must_use]
    pub fn call(&self, text: &str, stop: &str) -> Option<Called> {
        let at = self.tags.iter().position(|tag| stop == format!("</{tag}>"))?;
        let tag = self.tags[at].as_str();
        let opening = format!("<{tag}>");
        let Some(start) = text.rfind(&opening) else {
            let correction = format!("{stop} ends a call that was not begun: write {}", self.example(tag));
            return Some(Called {
                start: text.len(),
                name: tag.to_owned(),
                argument: Value::Null,
                tool: Err(correction),
            });
        };
        let inside = text[start + opening.len()..].trim();
        Some(match self.spec.form {
            Form::Tag => {
                let name = self.spec.uses[at].name.clone();
                Called { start, name, argument: inside.into(), tool: Ok(at) }
            }
            Form::Json => self.read_json(start, inside),
        })
    }

    fn read_json(&self, start: usize, inside: &str) -> Called {
        let refused = |name: &str, argument: Value, what: String| Called {
            start,
            name: name.to_owned(),
            argument,
            tool: Err(format!("{what}: write {}", self.example(JSON_TAG))),
        };
        let Ok(Value::Object(object)) = serde_json::from_str::<Value>(inside) else {
            return refused("", inside.into(), "a call is a JSON object".into());
        };
        let argument = object.get("arguments").cloned().unwrap_or(Value::Null);
        let Some(name) = object.get("name").and_then(Value::as_str) else {
            return refused("", argument, "a call has a \"name\"".into());
        };
        match self.spec.uses.iter().position(|one| one.tag() == name) {
            Some(at) => Called { start, name: name.to_owned(), argument, tool: Ok(at) },
            None => {
                let known: Vec<&str> = self.spec.uses.iter().map(ToolSpec::tag).collect();
                refused(
                    name,
                    argument,
                    format!("there is no tool of that name; there are {}", known.join(", ")),
                )
            }
        }
    }

    fn example(&self, tag: &str) -> String {
        match self.spec.form {
            Form::Tag => format!("<{tag}>...</{tag}>"),
            Form::Json => format!("<{tag}>{{\"name\": ..., \"arguments\": {{...}}}}</{tag}>"),
        }
    }

    /// Has the calls of a turn answered, in their order. A tool that broke for several in a row is not asked again in this
    /// turn: what hangs once for each of a round's samples would hang for hours.
    #[must_use]
    pub fn answers(&self, calls: &[Called]) -> Vec<Reply> {
        let mut broke = vec![0; self.tools.len()];
        let mut answer = |called: &Called| {
            let own = called.tool.as_ref().ok().copied();
            if own.is_some_and(|tool| broke[tool] >= HOPELESS) {
                return Reply::Failed(format!("not asked: the tool broke {HOPELESS} times in a row"));
            }
            let reply = self.answer(called);
            if let Some(tool) = own {
                broke[tool] = if matches!(reply, Reply::Failed(_)) { broke[tool] + 1 } else { 0 };
            }
            reply
        };
        calls.iter().map(&mut answer).collect()
    }

    /// Has a call answered.
    #[must_use]
    pub fn answer(&self, called: &Called) -> Reply {
        match &called.tool {
            Err(correction) => Reply::Refused(correction.clone()),
            Ok(at) => self.tools[*at].answer(&argument_text(&called.argument)),
        }
    }

    /// The words that the model goes on from. What looks like one of the box's own tags is taken out of them, so that no
    /// document can forge a call.
    #[must_use]
    pub fn observation(&self, reply: &Reply) -> String {
        let text = match reply {
            Reply::Said(text) | Reply::Refused(text) => text.as_str(),
            Reply::Failed(_) => "the tool failed",
        };
        let mut text = text.to_owned();
        // Before anything is looked for in it: a tool may say a megabyte of tags.
        if let Some((cut, _)) = text.char_indices().nth(self.spec.longest) {
            text.truncate(cut);
            text.push('…');
        }
        // Taking one out may bring another together.
        while let Some(at) = self.first_tag(&text) {
            text.replace_range(at, "");
        }
        self.spec.observation.replace("{result}", &text)
    }

    fn first_tag(&self, text: &str) -> Option<std::ops::Range<usize>> {
        static OBSERVATION: LazyLock<TagGrammar> =
            LazyLock::new(|| TagGrammar::new(["observation", "answer"]));
        let of = |grammar: &TagGrammar| {
            let parse = grammar.parse(text);
            let opening = |span: &lyceum_text::TagSpan| span.outer.start..span.inner.start;
            let spans = parse.spans.iter().map(opening);
            spans.chain(parse.faults.iter().map(|fault| fault.at().clone())).min_by_key(|at| at.start)
        };
        of(&self.grammar).or_else(|| of(&OBSERVATION))
    }
}

/// The argument as one text: itself, the only member of an object, or the whole object as JSON.
fn argument_text(argument: &Value) -> String {
    match argument {
        Value::String(text) => text.clone(),
        Value::Object(object) if object.len() == 1 => {
            object.values().next().map_or_else(String::new, argument_text)
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests;
