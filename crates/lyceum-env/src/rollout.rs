//! Rollouts: problems in, traces out.

use lyceum_engine::{Codec, Completion, Event, Finish, Generator, Request, Sampling, Stop, step_ends};
use lyceum_stats::{Draw, Purpose};
use lyceum_trace::{Boundary, Call, Part, Score, Source, TokenRecord, Trace};

use crate::Result;
use crate::task::{Problem, Split, Task};

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
    /// Most new tokens of a sample.
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
}

/// Samples answers to all problems and verifies them: a group of traces for each problem, in order.
///
/// A problem that can't be asked or answered gives traces with a fault, never an error.
///
/// # Errors
/// [`Error::Engine`](crate::Error::Engine) for faults of the model that concern all problems.
pub fn rollout(
    player: &Player<'_>,
    task: &dyn Task,
    problems: &[Problem],
    plan: &Plan,
    observe: &mut dyn FnMut(Event<'_>),
) -> Result<Vec<Vec<Trace>>> {
    let requests: Vec<Request> = problems
        .iter()
        .enumerate()
        .map(|(prompt, problem)| request(player, problem, prompt as u64, plan))
        .collect::<Result<_>>()?;
    let completions = player.generator.generate(&requests, observe)?;
    let groups = problems.iter().zip(&requests).zip(completions).enumerate();
    groups
        .map(|(prompt, ((problem, request), samples))| {
            let numbered = samples.into_iter().enumerate();
            numbered
                .map(|(sample, completion)| {
                    let mut trace = trace(player, task, problem, request, completion, plan)?;
                    trace.id = format!("s{}-p{prompt}-k{sample}", plan.step);
                    trace.sample = sample as u32;
                    Ok(trace)
                })
                .collect()
        })
        .collect()
}

fn request(player: &Player<'_>, problem: &Problem, prompt: u64, plan: &Plan) -> Result<Request> {
    let draw = |sample| Draw { seed: plan.seed, step: plan.step, prompt, sample };
    Ok(Request {
        prompt: player.codec.prompt(&problem.conversation())?,
        samples: (0..plan.samples as u64).map(draw).collect(),
        purpose: plan.purpose,
        sampling: plan.sampling.clone(),
        stop: Stop {
            tokens: player.codec.stop_tokens(),
            strings: plan.stop.clone(),
            max_new_tokens: plan.max_new_tokens,
        },
        choices: None,
    })
}

fn trace(
    player: &Player<'_>,
    task: &dyn Task,
    problem: &Problem,
    request: &Request,
    completion: Completion,
    plan: &Plan,
) -> Result<Trace> {
    let mut tokens = TokenRecord::default();
    tokens.push_given(Source::Prompt, &request.prompt);
    let ends = match &plan.step_separator {
        Some(separator) => step_ends(player.codec.tokenizer(), &completion.ids, separator)?,
        None => Vec::new(),
    };
    for (at, (&id, &logp)) in completion.ids.iter().zip(&completion.logp).enumerate() {
        tokens.push_sampled(id, logp);
        if ends.binary_search(&(at + 1)).is_ok() {
            tokens.end_step();
        }
    }
    tokens.sampling = Some(lyceum_trace::Sampling {
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
    let mut trace = Trace::new("", task.name(), described);
    trace.step = (plan.step > 0).then_some(plan.step);
    trace.cost.prompt_tokens = request.prompt.len() as u64;
    trace.cost.generated_tokens = completion.ids.len() as u64;
    trace.calls.push(Call {
        parent: None,
        role: "policy".into(),
        model: player.model.into(),
        parts: vec![
            Part::text(Source::Prompt, problem.plain()),
            Part::text(Source::Sampled, completion.text.clone()),
        ],
        tokens: Some(tokens),
        finish: Some(match completion.finish {
            Finish::Stop => lyceum_trace::Finish::Stop,
            Finish::Length => lyceum_trace::Finish::Length,
            Finish::Fault => lyceum_trace::Finish::Fault,
        }),
    });
    if let Some(cause) = completion.fault {
        trace.fault(if request.prompt.is_empty() { Boundary::Data } else { Boundary::Numeric }, cause);
    }
    for component in task.verify(problem, &completion.text) {
        let score = component.score.map_or_else(|failure| Score::Failed(failure.message), Score::of);
        trace.rewards.insert(component.name.into_owned(), score);
    }
    Ok(trace)
}
