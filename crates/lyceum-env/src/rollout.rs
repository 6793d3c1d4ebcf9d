//! Rollouts: problems in, traces out.
//!
//! A sample may take several turns: where the model calls a tool, the tool's words are appended to its tokens, and it goes
//! on from there. Turn n + 1 begins with the very ids of turn n; nothing is tokenised twice. Samples take their turns
//! together, so that all calls of a turn can be answered, and journalled, at once.

mod chat;
mod sample;

pub use self::chat::chat_rollout;
pub use self::sample::{CALLS, NEEDED_CALLS};

use lyceum_engine::{Codec, Event, Generator, Request, Sampling, Stop};
use lyceum_stats::{Draw, Purpose};
use lyceum_trace::Trace;

use self::sample::Sample;
use crate::Result;
use crate::task::{Problem, Split, Task};
use crate::tool::{Called, Reply, Toolbox};

/// How problems are rolled out.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Which part of the task the problems are of.
    pub split: Split,
    /// The run's seed.
    pub seed: u64,
    /// The training step; 0 outside training.
    pub step: u64,
    /// Samples per problem.
    pub samples: usize,
    /// How tokens are chosen.
    pub sampling: Sampling,
    /// Most new tokens of a sample, over all its turns.
    pub max_new_tokens: usize,
    /// Strings that end a sample.
    pub stop: Vec<String>,
    /// What ends a reasoning step; `None` where nobody asks for steps.
    pub step_separator: Option<String>,
    /// What the random numbers are for.
    pub purpose: Purpose,
}

/// A model as a rollout sees it.
#[derive(Clone, Copy)]
pub struct Player<'m> {
    /// Its generator.
    pub generator: Generator<'m>,
    /// Its tokenizer and template.
    pub codec: &'m Codec,
    /// Which weights these are, for the traces.
    pub model: &'m str,
    /// The tools that it may call.
    pub tools: Option<&'m dyn Desk>,
}

/// Where a model's calls of tools are answered: at a [`Toolbox`], or where its answers are journalled.
pub trait Desk {
    /// The tools.
    fn toolbox(&self) -> &Toolbox;

    /// Replies to the calls of a turn, in their order; `turn` counts from 1.
    ///
    /// # Errors
    /// When the answers can't be kept. A tool that breaks is a [`Reply::Failed`].
    fn replies(&self, turn: usize, calls: &[Called]) -> Result<Vec<Reply>>;
}

impl Desk for Toolbox {
    fn toolbox(&self) -> &Toolbox {
        self
    }

    fn replies(&self, _turn: usize, calls: &[Called]) -> Result<Vec<Reply>> {
        Ok(self.answers(calls))
    }
}

/// Where a rollout begins: at a problem's prompt, or in the middle of an answer to it.
#[derive(Clone, Debug, PartialEq)]
pub struct Start {
    /// The problem.
    pub problem: Problem,
    /// Tokens of an answer that are given: the samples go on from there. Empty for the root.
    pub prefix: Vec<u32>,
}

impl From<Problem> for Start {
    fn from(problem: Problem) -> Self {
        Self { problem, prefix: Vec::new() }
    }
}

/// Samples answers from all starts and verifies them: a group of traces for each start, in order.
///
/// A problem that can't be asked or answered gives traces with a fault, never an error.
///
/// # Errors
/// [`Error::Engine`](crate::Error::Engine) for faults of the model that concern all problems.
pub fn rollout(
    player: &Player<'_>,
    task: &dyn Task,
    starts: &[Start],
    plan: &Plan,
    observe: &mut dyn FnMut(Event<'_>),
) -> Result<Vec<Vec<Trace>>> {
    let begin = |(prompt, start)| group(player, start, prompt, plan);
    let mut groups: Vec<Vec<Sample<'_>>> = starts.iter().enumerate().map(begin).collect::<Result<_>>()?;
    let first = groups.iter().map(|group| request(player, &group.iter().collect::<Vec<_>>(), plan));
    let requests: Vec<Request> = first.collect();
    let completions = player.generator.generate(&requests, observe)?;
    for (sample, completion) in groups.iter_mut().flatten().zip(completions.into_iter().flatten()) {
        sample.take(completion, player, plan)?;
    }
    if let Some(desk) = player.tools {
        further_turns(player, desk, &mut groups, plan)?;
    }
    let traces =
        |group: Vec<Sample<'_>>| group.into_iter().map(|sample| sample.trace(player, task, plan)).collect();
    Ok(groups.into_iter().map(traces).collect())
}

/// The samples of a start, with nothing drawn yet.
fn group<'s>(player: &Player<'_>, start: &'s Start, prompt: usize, plan: &Plan) -> Result<Vec<Sample<'s>>> {
    let ids = player.codec.prompt(&start.problem.conversation())?;
    let draw = |sample| Draw { seed: plan.seed, step: plan.step, prompt: prompt as u64, sample };
    (0..plan.samples as u64).map(|sample| Sample::new(player, start, draw(sample), &ids)).collect()
}

/// Turn by turn: what was called is answered, and who called goes on.
fn further_turns(
    player: &Player<'_>,
    desk: &dyn Desk,
    groups: &mut [Vec<Sample<'_>>],
    plan: &Plan,
) -> Result<()> {
    // Every turn costs each sample one of its calls, and there is one turn more than calls.
    for turn in 1.. {
        let mut calling: Vec<(&mut Sample<'_>, Called)> = groups
            .iter_mut()
            .flatten()
            .filter_map(|sample| sample.called.take().map(|called| (sample, called)))
            .collect();
        if calling.is_empty() {
            break;
        }
        let calls: Vec<Called> = calling.iter().map(|(_, called)| called.clone()).collect();
        let replies = desk.replies(turn, &calls)?;
        for ((sample, called), reply) in calling.iter_mut().zip(replies) {
            sample.hear(player, desk.toolbox(), called, reply)?;
        }
        let going: Vec<&mut Sample<'_>> = calling
            .into_iter()
            .map(|(sample, _)| sample)
            .filter_map(|sample| sample.goes_on(player, plan).then_some(sample))
            .collect();
        let requests: Vec<Request> = going.iter().map(|sample| request(player, &[&**sample], plan)).collect();
        let completions = player.generator.generate(&requests, &mut |_| {})?;
        for (sample, completion) in going.into_iter().zip(completions.into_iter().flatten()) {
            sample.take(completion, player, plan)?;
        }
    }
    Ok(())
}

/// What is asked of the generator for samples that have the same tokens so far.
fn request(player: &Player<'_>, samples: &[&Sample<'_>], plan: &Plan) -> Request {
    let first = samples.first();
    let drawn = first.map_or(0, |sample| sample.drawn);
    let mut strings = plan.stop.clone();
    if let Some(desk) = player.tools.filter(|desk| first.is_some_and(|s| s.may_call(desk.toolbox()))) {
        strings.extend(desk.toolbox().stops());
    }
    Request {
        prompt: first.map_or_else(Vec::new, |sample| sample.tokens.ids.clone()),
        samples: samples.iter().map(|sample| sample.draw).collect(),
        purpose: plan.purpose,
        sampling: plan.sampling.clone(),
        stop: Stop {
            tokens: player.codec.stop_tokens(),
            strings,
            max_new_tokens: plan.max_new_tokens.saturating_sub(drawn),
        },
        choices: None,
        drawn,
    }
}
