//! One sample of a rollout while it grows.

use lyceum_engine::{Completion, Finish, step_ends};
use lyceum_stats::Draw;
use lyceum_text::SpecialTokens;
use lyceum_trace::{Boundary, Call, Content, Part, Score, Source, TokenRecord, Trace};

use super::{Plan, Player, Start};
use crate::Result;
use crate::task::Task;
use crate::tool::{Called, Reply, Toolbox};

/// Name of the component that counts a sample's calls of tools, where there are tools.
pub const CALLS: &str = "calls";
/// Name of the component that holds where a sample makes as many calls as its problem needs, where that is known.
pub const NEEDED_CALLS: &str = "needed-calls";

pub(super) struct Sample<'s> {
    start: &'s Start,
    pub(super) draw: Draw,
    pub(super) tokens: TokenRecord,
    /// Tokens drawn in the turns so far.
    pub(super) drawn: usize,
    /// The call that waits for its answer.
    pub(super) called: Option<Called>,
    calls: usize,
    parts: Vec<Part>,
    /// What a verifier reads: the given beginning and the model's words, without calls and their results.
    said: String,
    finish: lyceum_trace::Finish,
    faults: Vec<(Boundary, String)>,
}

impl<'s> Sample<'s> {
    /// A sample whose problem has the prompt `ids`.
    pub(super) fn new(player: &Player<'_>, start: &'s Start, draw: Draw, ids: &[u32]) -> Result<Self> {
        let mut tokens = TokenRecord::default();
        tokens.push_given(Source::Prompt, ids);
        tokens.push_given(Source::Prompt, &start.prefix);
        let mut parts = vec![Part::text(Source::Prompt, start.problem.plain())];
        let decoded = player.codec.tokenizer().decode(&start.prefix, SpecialTokens::Skip);
        let said = decoded.map_err(lyceum_engine::Error::Text)?;
        if !said.is_empty() {
            parts.push(Part::text(Source::Prompt, said.clone()));
        }
        Ok(Self {
            start,
            draw,
            tokens,
            drawn: 0,
            called: None,
            calls: 0,
            parts,
            said,
            finish: lyceum_trace::Finish::Fault,
            faults: Vec::new(),
        })
    }

    /// Whether calls are left: in a turn without, what looks like a call is text.
    pub(super) fn may_call(&self, toolbox: &Toolbox) -> bool {
        self.calls < toolbox.limit()
    }

    /// Takes what the model said in a turn.
    pub(super) fn take(&mut self, completion: Completion, player: &Player<'_>, plan: &Plan) -> Result<()> {
        let ends = match &plan.step_separator {
            Some(separator) => step_ends(player.codec.tokenizer(), &completion.ids, separator)?,
            None => Vec::new(),
        };
        for (at, (&id, &logp)) in completion.ids.iter().zip(&completion.logp).enumerate() {
            self.tokens.push_sampled(id, logp);
            if ends.binary_search(&(at + 1)).is_ok() {
                self.tokens.end_step();
            }
        }
        self.drawn += completion.ids.len();
        self.finish = match completion.finish {
            Finish::Stop => lyceum_trace::Finish::Stop,
            Finish::Length => lyceum_trace::Finish::Length,
            Finish::Fault => lyceum_trace::Finish::Fault,
        };
        if let Some(cause) = completion.fault {
            let boundary = match self.tokens.ids.len() {
                0 => Boundary::Data,
                length if length >= player.generator.context() => Boundary::Length,
                _ => Boundary::Numeric,
            };
            self.faults.push((boundary, cause));
        }
        if !self.said.is_empty() && !self.said.ends_with('\n') && self.calls > 0 {
            self.said.push('\n');
        }
        let Some(desk) = player.tools else {
            self.say(completion.text);
            return Ok(());
        };
        self.tokens.end_turn();
        let stop = completion.stop.filter(|_| self.may_call(desk.toolbox()));
        let Some(called) = stop.and_then(|stop| desk.toolbox().call(&completion.text, &stop)) else {
            self.say(completion.text);
            return Ok(());
        };
        self.calls += 1;
        self.finish = lyceum_trace::Finish::ToolCall;
        let before = completion.text.get(..called.start).unwrap_or_default();
        if !before.is_empty() {
            self.say(before.to_owned());
        }
        let content =
            Content::ToolCall { id: None, name: called.name.clone(), arguments: called.argument.clone() };
        self.parts.push(Part { source: Source::Sampled, content });
        self.called = Some(called);
        Ok(())
    }

    fn say(&mut self, text: String) {
        self.said.push_str(&text);
        self.parts.push(Part::text(Source::Sampled, text));
    }

    /// Appends what a tool said.
    pub(super) fn hear(
        &mut self,
        player: &Player<'_>,
        toolbox: &Toolbox,
        called: &Called,
        reply: Reply,
    ) -> Result<()> {
        let text = toolbox.observation(&reply);
        let ids = player.codec.tokenizer().encode_foreign(&text).map_err(lyceum_engine::Error::Text)?;
        self.tokens.push_given(Source::Tool, &ids);
        if let Reply::Failed(cause) = reply {
            self.faults.push((Boundary::Tool, cause));
        }
        let content = Content::ToolResult { id: None, name: called.name.clone(), text };
        self.parts.push(Part { source: Source::Tool, content });
        Ok(())
    }

    /// Whether there is room for another turn; where there is none, the sample ends as one that was cut off.
    pub(super) fn goes_on(&mut self, player: &Player<'_>, plan: &Plan) -> bool {
        let room = self.drawn < plan.max_new_tokens && self.tokens.ids.len() < player.generator.context();
        if !room {
            self.finish = lyceum_trace::Finish::Length;
        }
        room
    }

    /// The finished sample, verified.
    pub(super) fn trace(mut self, player: &Player<'_>, task: &dyn Task, plan: &Plan) -> Trace {
        let problem = &self.start.problem;
        self.tokens.sampling = Some(lyceum_trace::Sampling {
            temperature: plan.sampling.temperature,
            top_k: (plan.sampling.top_k > 0).then_some(plan.sampling.top_k as u32),
            top_p: (plan.sampling.top_p < 1.0).then_some(plan.sampling.top_p),
            min_p: (plan.sampling.min_p > 0.0).then_some(plan.sampling.min_p),
            repetition_penalty: (plan.sampling.repetition_penalty != 1.0)
                .then_some(plan.sampling.repetition_penalty),
        });
        let described = lyceum_trace::Problem {
            id: problem.id.clone(),
            split: plan.split.to_string(),
            answer: (!problem.answer.is_empty()).then(|| problem.answer.clone()),
        };
        let Draw { prompt, sample, .. } = self.draw;
        let mut trace = Trace::new(format!("s{}-p{prompt}-k{sample}", plan.step), task.name(), described);
        trace.sample = sample as u32;
        trace.step = (plan.step > 0).then_some(plan.step);
        trace.prefix = self.start.prefix.len() as u64;
        trace.cost.generated_tokens = self.drawn as u64;
        trace.cost.prompt_tokens = (self.tokens.ids.len() - self.drawn) as u64;
        trace.cost.tool_calls = self.calls as u64;
        for (boundary, cause) in self.faults {
            trace.fault(boundary, cause);
        }
        for component in task.verify(problem, &self.said) {
            let score = component.score.map_or_else(|failure| Score::Failed(failure.message), Score::of);
            trace.rewards.insert(component.name.into_owned(), score);
        }
        if player.tools.is_some() {
            trace.rewards.insert(CALLS.to_owned(), Score::of(self.calls as f64));
            if let Some(needed) = problem.meta.get("calls").and_then(serde_json::Value::as_u64) {
                let holds = needed == self.calls as u64;
                trace.rewards.insert(NEEDED_CALLS.to_owned(), Score::of(f64::from(u8::from(holds))));
            }
        }
        trace.calls.push(Call {
            parent: None,
            role: "policy".into(),
            model: player.model.into(),
            parts: self.parts,
            tokens: Some(self.tokens),
            finish: Some(self.finish),
        });
        trace
    }
}
