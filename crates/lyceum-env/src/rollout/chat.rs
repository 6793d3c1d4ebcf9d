//! Rollouts by a chat model, whose tokens nobody sees: for examinations, not for training.

use lyceum_chat::{ChatModel, ChatReply, ChatRequest, ask_all};
use lyceum_stats::Draw;
use lyceum_trace::{Boundary, Call, Finish, Part, Score, Source, Trace};
use rand::RngCore;

use super::Plan;
use crate::task::{Problem, Task};

/// Asks a chat model all problems and verifies what it says: a group of traces for each problem, in order. At most `concurrency`
/// questions are open at a time. Of the plan's sampling a chat model takes temperature and top p; tools it has none.
///
/// A call that fails gives a trace with a fault whose components have failed: it is no wrong answer.
#[must_use]
pub fn chat_rollout(
    model: &dyn ChatModel,
    task: &dyn Task,
    problems: &[Problem],
    plan: &Plan,
    concurrency: usize,
) -> Vec<Vec<Trace>> {
    let draw = |prompt, sample| Draw { seed: plan.seed, step: plan.step, prompt, sample };
    let samples = plan.samples.max(1);
    let requests: Vec<ChatRequest> = problems
        .iter()
        .enumerate()
        .flat_map(|(prompt, problem)| {
            (0..samples as u64).map(move |sample| request(problem, plan, draw(prompt as u64, sample)))
        })
        .collect();
    let mut replies = ask_all(model, &requests, concurrency).into_iter();
    let group = |(prompt, problem): (usize, &Problem)| {
        let replies = replies.by_ref().take(samples).enumerate();
        replies
            .map(|(sample, reply)| trace(model.name(), task, problem, plan, (prompt, sample), &reply))
            .collect()
    };
    problems.iter().enumerate().map(group).collect()
}

fn request(problem: &Problem, plan: &Plan, draw: Draw) -> ChatRequest {
    ChatRequest {
        temperature: f64::from(plan.sampling.temperature),
        top_p: f64::from(plan.sampling.top_p),
        seed: (plan.sampling.temperature > 0.0).then(|| draw.rng(plan.purpose).next_u64()),
        stop: plan.stop.clone(),
        ..ChatRequest::greedy(problem.conversation(), plan.max_new_tokens)
    }
}

fn trace(
    model: &str,
    task: &dyn Task,
    problem: &Problem,
    plan: &Plan,
    (prompt, sample): (usize, usize),
    reply: &lyceum_chat::Result<ChatReply>,
) -> Trace {
    let described = lyceum_trace::Problem {
        id: problem.id.clone(),
        split: plan.split.to_string(),
        answer: (!problem.answer.is_empty()).then(|| problem.answer.clone()),
    };
    let mut trace = Trace::new(format!("s{}-p{prompt}-k{sample}", plan.step), task.name(), described);
    trace.sample = sample as u32;
    trace.step = (plan.step > 0).then_some(plan.step);
    let mut parts = vec![Part::text(Source::Prompt, problem.plain())];
    let text = reply.as_ref().map_or("", |reply| reply.text.as_str());
    let verified = task.verify(problem, text);
    let finish = match reply {
        Ok(reply) => {
            trace.cost.prompt_tokens = reply.usage.prompt_tokens;
            trace.cost.generated_tokens = reply.usage.completion_tokens;
            parts.push(Part::text(Source::Sampled, reply.text.clone()));
            for component in verified {
                let score = component.score.map_or_else(|failure| Score::Failed(failure.message), Score::of);
                trace.rewards.insert(component.name.into_owned(), score);
            }
            match reply.finish {
                lyceum_chat::Finish::Stop => Finish::Stop,
                lyceum_chat::Finish::ToolCalls => Finish::ToolCall,
                _ => Finish::Length,
            }
        }
        Err(error) => {
            trace.fault(Boundary::Provider, error.to_string());
            let failed = || Score::Failed("the model did not reply".into());
            trace.rewards.extend(verified.into_iter().map(|c| (c.name.into_owned(), failed())));
            Finish::Fault
        }
    };
    let (role, model) = ("policy".into(), model.into());
    trace.calls.push(Call { parent: None, role, model, parts, tokens: None, finish: Some(finish) });
    trace
}

#[cfg(test)]
mod tests {
    use lyceum_chat::stub::{Act, Stub};
    use lyceum_chat::{Endpoint, EndpointSpec};
    use lyceum_engine::Sampling;
    use lyceum_stats::Purpose;

    use super::*;
    use crate::exam::examine_chat;
    use crate::task::{Split, TaskSpec, open};

    #[test]
    fn a_call_that_fails_is_no_wrong_answer() {
        let task = open(&TaskSpec { name: "chain".into(), options: Default::default() }).unwrap();
        let problems: Vec<Problem> =
            (0..4).map(|number| task.problem(Split::Heldout, 1, number).unwrap()).collect();
        let plan = Plan {
            split: Split::Heldout,
            seed: 1,
            step: 0,
            samples: 1,
            sampling: Sampling::greedy(),
            max_new_tokens: 64,
            stop: Vec::new(),
            step_separator: None,
            purpose: Purpose::Evaluation,
        };
        let right = Act::Say(task.gold(&problems[0]));
        let script = vec![right, Act::Say("no idea".into()), Act::Status(400, Vec::new(), "no".into())];
        let stub = Stub::start(script).unwrap();
        let spec = EndpointSpec { url: stub.address().into(), ..EndpointSpec::default() };
        let endpoint = Endpoint::new(&spec).unwrap();
        let exam = examine_chat(&endpoint, task.as_ref(), &problems, &plan, 1);
        let correct = &exam.components["correct"];
        assert_eq!((correct.mean, correct.n, correct.unscored), (0.5, 2, 2));
        assert_eq!(exam.traces[2][0].faults[0].boundary, Boundary::Provider);
        assert_eq!(exam.traces[0][0].cost.generated_tokens, 3);
    }
}
