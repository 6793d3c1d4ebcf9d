use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Error, Result, TokenRecord, tokens::Source};

/// The version of the format that this crate writes and reads. It rises when a field changes its meaning or goes
/// away; fields that are added keep it, as readers ignore what they do not know.
pub const VERSION: u32 = 1;

/// What happened to one problem once: a rollout, an agent's run, an item of an evaluation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Trace {
    /// The format's version: [`VERSION`].
    pub version: u32,
    /// Unique within its file, and the same in every run of one recipe and seed.
    pub id: String,
    /// Name of the task.
    pub task: String,
    /// Which problem of the task.
    pub problem: Problem,
    /// The training step that made it, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<u64>,
    /// Which of the samples drawn for this problem, from 0.
    #[serde(default)]
    pub sample: u32,
    /// The model calls; each one's parent stands before it.
    pub calls: Vec<Call>,
    /// What each component of the reward said.
    #[serde(default)]
    pub rewards: BTreeMap<String, Score>,
    /// The combined reward; absent where it could not be had.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<f64>,
    /// The process reward of each reasoning step of the policy's call, in the order of its
    /// [`TokenRecord::steps`]; empty where no step was judged.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub process: Vec<f64>,
    /// Tokens of the prompt that are the beginning of an answer, given to go on from; 0 for a trace that begins at its problem.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub prefix: u64,
    /// What it took.
    #[serde(default)]
    pub cost: Cost,
    /// What went wrong, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<Fault>,
    /// Whatever a clock decides; two runs of one recipe differ in nothing else.
    #[serde(default)]
    pub wall: Wall,
}

/// For serde, which asks by reference.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
const fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// The problem behind a trace.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Problem {
    /// Unique within the task.
    pub id: String,
    /// `train`, `test` or another part of the task's data.
    pub split: String,
    /// The gold answer, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<String>,
}

/// One call of a model (or of an actor that stands for one).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Call {
    /// Index in [`Trace::calls`] of the call that led to this one; absent for a root.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<usize>,
    /// What the model was asked to be: `policy`, `judge`, `critic`, `planner`, ...
    pub role: String,
    /// Which weights answered: a name, or a name and a hash or step, as `smollm2-135m@step-40`.
    pub model: String,
    /// What was said, in order.
    pub parts: Vec<Part>,
    /// The exact tokens, where the call's user needs them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens: Option<TokenRecord>,
    /// Why it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finish: Option<Finish>,
}

/// A piece of a call with who put it there: `{"source":"sampled","type":"text","text":"4"}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Part {
    /// Who put it there.
    pub source: Source,
    /// What it is.
    #[serde(flatten)]
    pub content: Content,
}

impl Part {
    /// A piece of text.
    pub fn text(source: Source, text: impl Into<String>) -> Self {
        Self { source, content: Content::Text { text: text.into() } }
    }
}

/// What a part is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Content {
    /// Plain text.
    Text {
        /// The text.
        text: String,
    },
    /// The model asks for a tool.
    ToolCall {
        /// Links call and result where there are several.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        id: Option<String>,
        /// The tool's name as the model wrote it.
        name: String,
        /// Its arguments as the model wrote them.
        arguments: serde_json::Value,
    },
    /// What the tool said.
    ToolResult {
        /// The call's id.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        id: Option<String>,
        /// The tool's name.
        name: String,
        /// Its answer, or the message the model was shown in its place.
        text: String,
    },
    /// An image, kept elsewhere.
    Image {
        /// SHA-256 of the encoded file, lower-case hexadecimal.
        sha256: String,
        /// Width and height in pixels.
        size: [u32; 2],
    },
}

/// Why a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Finish {
    /// The model ended its turn, or a stop string came.
    Stop,
    /// The limit of tokens, or of the context, was reached.
    Length,
    /// The model asked for a tool.
    ToolCall,
    /// A fault ended it; see [`Trace::faults`].
    Fault,
}

/// What a component of the reward said: `{"value":1.0}` or `{"failed":"deadline of 5 s passed"}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Score {
    /// A finite number.
    Value(f64),
    /// No score, and why. Counted as unscored, never as 0.
    Failed(String),
}

impl Score {
    /// A score of `value`; what is not finite is a failure with that cause.
    #[must_use]
    pub fn of(value: f64) -> Self {
        if value.is_finite() { Self::Value(value) } else { Self::Failed(format!("the score was {value}")) }
    }

    /// The number, if there is one.
    #[must_use]
    pub const fn value(&self) -> Option<f64> {
        match self {
            Self::Value(value) => Some(*value),
            Self::Failed(_) => None,
        }
    }
}

impl From<f64> for Score {
    fn from(value: f64) -> Self {
        Self::of(value)
    }
}

/// What a trace took, in units that do not depend on the machine. Seconds are in [`Wall`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cost {
    /// Tokens given to models, over all calls.
    pub prompt_tokens: u64,
    /// Tokens sampled, over all calls.
    pub generated_tokens: u64,
    /// Tools asked.
    pub tool_calls: u64,
}

/// Where a fault arose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Boundary {
    /// A model endpoint, a judge, a user's reward command.
    Provider,
    /// A tool.
    Tool,
    /// The sandbox or what ran in it.
    Sandbox,
    /// The problem's data.
    Data,
    /// The recipe.
    Config,
    /// A number that is not finite.
    Numeric,
    /// A prompt that did not fit, an answer cut off.
    Length,
}

impl Boundary {
    /// All of them, in order.
    pub const ALL: [Self; 7] =
        [Self::Provider, Self::Tool, Self::Sandbox, Self::Data, Self::Config, Self::Numeric, Self::Length];

    /// The name in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Provider => "provider",
            Self::Tool => "tool",
            Self::Sandbox => "sandbox",
            Self::Data => "data",
            Self::Config => "config",
            Self::Numeric => "numeric",
            Self::Length => "length",
        }
    }
}

/// Something that went wrong. A fault is data: counted and shown, never a crash.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// Where.
    pub boundary: Boundary,
    /// What, in words fit for a reader; the same words in every run of one recipe.
    pub cause: String,
    /// Index of the call concerned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call: Option<usize>,
}

/// Clock readings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Wall {
    /// Start, in seconds since 1970 (UTC).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<f64>,
    /// Duration of the whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
}

impl Trace {
    /// A trace with nothing in it yet.
    pub fn new(id: impl Into<String>, task: impl Into<String>, problem: Problem) -> Self {
        Self {
            version: VERSION,
            id: id.into(),
            task: task.into(),
            problem,
            step: None,
            sample: 0,
            calls: Vec::new(),
            rewards: BTreeMap::new(),
            total: None,
            process: Vec::new(),
            prefix: 0,
            cost: Cost::default(),
            faults: Vec::new(),
            wall: Wall::default(),
        }
    }

    /// Notes a fault of the whole trace.
    pub fn fault(&mut self, boundary: Boundary, cause: impl Into<String>) {
        self.faults.push(Fault { boundary, cause: cause.into(), call: None });
    }

    /// The exact tokens of the policy's call, where they were recorded.
    #[must_use]
    pub fn policy_tokens(&self) -> Option<&TokenRecord> {
        self.calls.iter().find(|call| call.role == "policy")?.tokens.as_ref()
    }

    /// Whether a call was cut off at its limit of tokens.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        self.calls.iter().any(|call| call.finish == Some(Finish::Length))
    }

    /// All text from one source, parts joined in order: the completion is `text_of(Source::Sampled)`.
    #[must_use]
    pub fn text_of(&self, source: Source) -> String {
        let parts = self.calls.iter().flat_map(|call| &call.parts);
        parts
            .filter(|part| part.source == source)
            .filter_map(|part| match &part.content {
                Content::Text { text } => Some(text.as_str()),
                _ => None,
            })
            .collect()
    }

    /// Whether two traces are the same but for the clock.
    #[must_use]
    pub fn same_content(&self, other: &Self) -> bool {
        let timeless = |trace: &Self| Self { wall: Wall::default(), ..trace.clone() };
        timeless(self) == timeless(other)
    }

    /// Checks what serde can't: parents before children, tokens that agree with each other, finite numbers.
    ///
    /// # Errors
    /// [`Error::Version`] or [`Error::Invalid`] with the first contradiction found.
    pub fn validate(&self) -> Result<()> {
        if self.version != VERSION {
            return Err(Error::Version { found: u64::from(self.version) });
        }
        for (index, call) in self.calls.iter().enumerate() {
            if let Some(parent) = call.parent.filter(|&parent| parent >= index) {
                return Err(Error::Invalid(format!(
                    "call {index} has parent {parent}, which is not before it"
                )));
            }
            if let Some(tokens) = &call.tokens {
                tokens.validate().map_err(|error| match error {
                    Error::Invalid(what) => Error::Invalid(format!("call {index}: {what}")),
                    other => other,
                })?;
            }
        }
        if let Some(call) = self.faults.iter().filter_map(|fault| fault.call).find(|&c| c >= self.calls.len())
        {
            return Err(Error::Invalid(format!("a fault names call {call} of {}", self.calls.len())));
        }
        let rewards = self.rewards.iter().filter_map(|(name, score)| Some((name.as_str(), score.value()?)));
        let clock = [("wall.started", self.wall.started), ("wall.seconds", self.wall.seconds)];
        let mut numbers = rewards
            .chain(clock.into_iter().chain([("total", self.total)]).filter_map(|(n, v)| Some((n, v?))));
        if let Some(bad) = self.process.iter().find(|reward| !reward.is_finite()) {
            return Err(Error::Invalid(format!("a process reward is {bad}")));
        }
        match numbers.find(|(_, value)| !value.is_finite()) {
            Some((name, value)) => Err(Error::Invalid(format!("{name} is {value}"))),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn small() -> Trace {
        let mut trace = Trace::new(
            "s1-p0-k0",
            "chain",
            Problem { id: "7".into(), split: "train".into(), answer: Some("4".into()) },
        );
        let mut tokens = TokenRecord::default();
        tokens.push_given(Source::Prompt, &[1, 2]);
        tokens.push_sampled(3, -0.125);
        trace.step = Some(1);
        trace.calls.push(Call {
            parent: None,
            role: "policy".into(),
            model: "tiny@step-0".into(),
            parts: vec![Part::text(Source::Prompt, "2+2="), Part::text(Source::Sampled, "4")],
            tokens: Some(tokens),
            finish: Some(Finish::Stop),
        });
        trace.rewards.insert("format".into(), Score::Failed("deadline".into()));
        trace.rewards.insert("verifier".into(), 1.0.into());
        trace.total = Some(1.0);
        trace.fault(Boundary::Provider, "deadline");
        trace
    }

    /// The format itself, byte for byte: a change here is a change of [`VERSION`] or an added field.
    #[test]
    fn the_line_on_disk() {
        let line = serde_json::to_string(&small()).unwrap();
        assert_eq!(
            line,
            concat!(
                r#"{"version":1,"id":"s1-p0-k0","task":"chain","problem":{"id":"7","split":"train","answer":"4"},"#,
                r#""step":1,"sample":0,"calls":[{"role":"policy","model":"tiny@step-0","parts":["#,
                r#"{"source":"prompt","type":"text","text":"2+2="},{"source":"sampled","type":"text","text":"4"}],"#,
                r#""tokens":{"ids":[1,2,3],"source":[["prompt",2],["sampled",1]],"weight":[[0.0,2],[1.0,1]],"#,
                r#""logp":[-0.125]},"finish":"stop"}],"#,
                r#""rewards":{"format":{"failed":"deadline"},"verifier":{"value":1.0}},"total":1.0,"#,
                r#""cost":{"prompt_tokens":0,"generated_tokens":0,"tool_calls":0},"#,
                r#""faults":[{"boundary":"provider","cause":"deadline"}],"wall":{}}"#,
            )
        );
        assert_eq!(serde_json::from_str::<Trace>(&line).unwrap(), small());
    }

    #[test]
    fn the_clock_does_not_count() {
        let (a, mut b) = (small(), small());
        b.wall = Wall { started: Some(1.7e9), seconds: Some(2.5) };
        assert_ne!(a, b);
        assert!(a.same_content(&b));
        b.sample = 1;
        assert!(!a.same_content(&b));
    }

    #[test]
    fn contradictions_are_named() {
        type Spoil = fn(&mut Trace);
        let spoils: [(Spoil, &str); 5] = [
            (|t| t.version = 9, "trace version 9; this program reads version 1"),
            (
                |t| t.calls[0].parent = Some(0),
                "inconsistent trace: call 0 has parent 0, which is not before it",
            ),
            (|t| t.faults[0].call = Some(1), "inconsistent trace: a fault names call 1 of 1"),
            (|t| t.total = Some(f64::NAN), "inconsistent trace: total is NaN"),
            (
                |t| t.calls[0].tokens.as_mut().unwrap().ids.clear(),
                "inconsistent trace: call 0: source covers 3 tokens of 0",
            ),
        ];
        for (spoil, message) in spoils {
            let mut trace = small();
            spoil(&mut trace);
            assert_eq!(trace.validate().unwrap_err().to_string(), message);
        }
        small().validate().unwrap();
    }

    #[test]
    fn what_is_not_finite_is_a_failure_not_a_score() {
        assert_eq!(Score::of(f64::NAN), Score::Failed("the score was NaN".into()));
        assert_eq!(Score::of(0.5).value(), Some(0.5));
    }

    #[test]
    fn text_by_source() {
        assert_eq!(small().text_of(Source::Sampled), "4");
    }

    #[test]
    fn boundaries_are_named_as_in_json() {
        for boundary in Boundary::ALL {
            assert_eq!(serde_json::to_value(boundary).unwrap(), boundary.name());
        }
    }
}
