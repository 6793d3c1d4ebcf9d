//! A judge of whole answers: the component `judge`, by a reward model or by a chat model behind an endpoint.

use lyceum_chat::{ChatModel, ChatReply, ChatRequest, EndpointSpec, Profile};
use lyceum_engine::{Model, Steps, judge};
use lyceum_text::Message;
use lyceum_trace::{Score, Trace};
use serde::{Deserialize, Serialize};

use super::command::Question;
use crate::Result;

/// The component's name.
pub const JUDGE: &str = "judge";

/// The recipe's table `reward.judge`: a model, or an endpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct JudgeSpec {
    /// A reward model with the policy's tokenizer: a folder, or a run with `[pairs]` and the loss `bradley-terry`. Its score is
    /// tanh(value / 2), between -1 and 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// An OpenAI-compatible endpoint, such as `http://localhost:8080/v1`. Its score is the expected grade, between 0 and 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// The kind of server behind the endpoint.
    #[serde(skip_serializing_if = "is_usual")]
    pub profile: Profile,
    /// The endpoint's model.
    pub name: String,
    /// The environment variable that holds the endpoint's key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_env: Option<String>,
    /// What the endpoint is asked; the question and the answer follow.
    pub instruction: String,
    /// Seconds that an answer may take.
    pub deadline: f64,
}

impl Default for JudgeSpec {
    fn default() -> Self {
        Self {
            model: None,
            endpoint: None,
            profile: Profile::default(),
            name: "default".into(),
            key_env: None,
            instruction: "Grade the answer to the question from 1 (worst) to 9 (best). Reply with one digit."
                .into(),
            deadline: 30.0,
        }
    }
}

/// The usual profile is not written, so that recipes from before there were profiles keep their hash.
fn is_usual(profile: &Profile) -> bool {
    *profile == Profile::default()
}

/// Tokens that a reward model reads at once; bounds memory.
const ROWS: usize = 4_096;

/// Puts a reward model's score of the whole answer on the traces.
///
/// # Errors
/// [`Error::Engine`](crate::Error::Engine) for a model that has no head for it.
pub(super) fn ask_model(model: &Model, groups: &mut [Vec<Trace>]) -> Result<()> {
    let whole = |trace: &Trace| {
        let ids = trace.policy_tokens().map(|record| record.ids.clone()).unwrap_or_default();
        Steps { ends: if ids.is_empty() { Vec::new() } else { vec![ids.len() as u32] }, ids }
    };
    let answers: Vec<Steps> = groups.iter().flatten().map(whole).collect();
    let scores = judge(&model.policy, &answers.iter().collect::<Vec<_>>(), ROWS)?;
    for (trace, score) in groups.iter_mut().flatten().zip(scores) {
        let score = score
            .first()
            .map_or_else(|| Score::Failed("there is no answer".into()), |&s| Score::of(f64::from(s)));
        trace.rewards.insert(JUDGE.to_owned(), score);
    }
    Ok(())
}

/// A chat model that grades.
pub(super) struct Endpoint {
    /// The model, or why there is none.
    model: std::result::Result<lyceum_chat::Endpoint, String>,
    instruction: String,
}

/// Alternatives of the first token that are asked for; most servers tell no more.
const ALTERNATIVES: usize = 20;
/// Attempts at a question.
const ATTEMPTS: u32 = 3;
/// Questions in a row without a grade after which the rest of a round is not asked: a dead endpoint costs minutes, not hours.
const HOPELESS: usize = 3;

impl Endpoint {
    pub(super) fn new(spec: &JudgeSpec, address: &str) -> Self {
        let endpoint = EndpointSpec {
            url: address.to_owned(),
            model: spec.name.clone(),
            profile: spec.profile,
            key_env: spec.key_env.clone(),
            attempt_deadline: spec.deadline,
            // Every attempt may take its time; the waits between them are seconds.
            deadline: spec.deadline * f64::from(ATTEMPTS) + 5.0,
            attempts: ATTEMPTS,
            ..EndpointSpec::default()
        };
        let model = lyceum_chat::Endpoint::new(&endpoint).map_err(|error| error.to_string());
        Self { model, instruction: spec.instruction.clone() }
    }

    /// The grades of a round's answers, in their order.
    pub(super) fn ask_all(&self, questions: &[Question]) -> Vec<Score> {
        let mut failed = 0;
        let mut ask = |question: &Question| {
            if failed >= HOPELESS {
                return Score::Failed(format!("not asked: the judge failed on {HOPELESS} answers in a row"));
            }
            let score = self.ask(question);
            failed = if score.value().is_none() { failed + 1 } else { 0 };
            score
        };
        questions.iter().map(&mut ask).collect()
    }

    /// The expected grade of an answer, between 0 and 1, or why there is none.
    fn ask(&self, question: &Question) -> Score {
        let model = match &self.model {
            Ok(model) => model,
            Err(cause) => return Score::Failed(format!("the judge can't be asked: {cause}")),
        };
        let asked = format!("Question:\n{}\n\nAnswer:\n{}", question.prompt, question.completion);
        let messages = vec![Message::new("system", self.instruction.as_str()), Message::new("user", asked)];
        let request = ChatRequest { top_logprobs: Some(ALTERNATIVES), ..ChatRequest::greedy(messages, 1) };
        match model.chat(&request) {
            Ok(reply) => match expected_grade(&reply) {
                Some(grade) => Score::of((grade - 1.0) / 8.0),
                None => Score::Failed("the judge's reply holds no grade from 1 to 9".into()),
            },
            Err(error) => Score::Failed(format!("the judge at {error}")),
        }
    }
}

/// The expected digit of a reply: by the probabilities of its first token where they are told, else the digit that was said.
fn expected_grade(reply: &ChatReply) -> Option<f64> {
    let digit = |text: &str| text.trim().parse::<u8>().ok().filter(|grade| (1..=9).contains(grade));
    let first = reply.tokens.first().into_iter().flat_map(|token| &token.top);
    let weighed: Vec<(f64, f64)> =
        first.filter_map(|entry| Some((f64::from(digit(&entry.token)?), entry.logprob.exp()))).collect();
    let mass: f64 = weighed.iter().map(|(_, weight)| weight).sum();
    if mass.is_finite() && mass > 0.0 {
        return Some(weighed.iter().map(|(grade, weight)| grade * weight).sum::<f64>() / mass);
    }
    reply.text.split_whitespace().next().and_then(digit).map(f64::from)
}

#[cfg(test)]
mod tests {
    use lyceum_chat::stub::{Act, Stub, body, deserted};
    use lyceum_chat::wire::reply_of_body;
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn grades_are_expected_values() {
        let grade = |reply: Value| expected_grade(&reply_of_body(reply.to_string().as_bytes()).unwrap());
        let told = |entries: Value| {
            let first = json!({"token": "7", "logprob": -1.0, "top_logprobs": entries});
            json!({"choices": [{"message": {"content": "7"}, "logprobs": {"content": [first]}}]})
        };
        let entries = json!([
            {"token": "8", "logprob": 0.5f64.ln()}, {"token": " 4", "logprob": 0.25f64.ln()},
            {"token": "good", "logprob": 0.25f64.ln()},
        ]);
        let expected = grade(told(entries)).unwrap();
        assert!((expected - (8.0 * 0.5 + 4.0 * 0.25) / 0.75).abs() < 1e-9);
        assert_eq!(grade(told(json!([{"token": "x", "logprob": -1.0}]))), Some(7.0));
        assert_eq!(grade(json!({"choices": [{"message": {"content": "no"}}]})), None);
        assert_eq!(grade(json!({"choices": [{"message": {"content": "10"}}]})), None);
    }

    fn question(id: usize) -> Question {
        Question { id: id.to_string(), prompt: "1+1?".into(), completion: "2".into(), answer: None }
    }

    #[test]
    fn a_judge_that_stalls_or_babbles_is_asked_again_and_then_given_up() {
        let ask = |script: &[Act]| {
            let spec = JudgeSpec { deadline: 0.5, ..JudgeSpec::default() };
            let stub = Stub::start(script.to_vec()).unwrap();
            (Endpoint::new(&spec, stub.address()).ask(&question(0)), stub.seen())
        };
        let good = || Act::Body(body("9").into());
        let garbage = || Act::Body(b"hello".to_vec());
        let broken = || Act::Status(500, Vec::new(), String::new());
        let (score, seen) = ask(&[good()]);
        assert_eq!(score, Score::Value(1.0));
        assert!(seen[0].contains("\"top_logprobs\":20") && seen[0].contains("Answer:\\n2"), "{seen:?}");
        assert_eq!(ask(&[broken(), Act::Cut, good()]).0, Score::Value(1.0));
        assert_eq!(ask(&[Act::Stall, good()]).0, Score::Value(1.0));
        let Score::Failed(cause) = ask(&[garbage(), garbage(), broken()]).0 else { panic!() };
        assert!(cause.contains("failed 3 times") && cause.contains("500"), "{cause}");
        let Score::Failed(cause) = ask(&[Act::Body(body("fine").into())]).0 else { panic!() };
        assert!(cause.contains("no grade"), "{cause}");
    }

    #[test]
    fn a_dead_judge_is_given_up_for_the_round() {
        let spec = JudgeSpec { deadline: 0.2, ..JudgeSpec::default() };
        let scores =
            Endpoint::new(&spec, &deserted().unwrap()).ask_all(&(0..6).map(question).collect::<Vec<_>>());
        let given_up = |score: &Score| matches!(score, Score::Failed(cause) if cause.contains("not asked"));
        assert_eq!(scores.iter().map(given_up).collect::<Vec<_>>(), [false, false, false, true, true, true]);
        let keyless = JudgeSpec { key_env: Some("LYCEUM_NO_SUCH_KEY".into()), ..spec };
        let Score::Failed(cause) = Endpoint::new(&keyless, "http://x").ask(&question(0)) else { panic!() };
        assert!(cause.contains("LYCEUM_NO_SUCH_KEY"), "{cause}");
    }

    #[test]
    #[ignore = "needs_llama_cpp: set LYCEUM_LLAMA_CPP"]
    fn needs_llama_cpp_a_real_server_grades() {
        let gguf = lyceum_hub::resolve("smollm2-135m-instruct-q4_1", &lyceum_hub::Silent).unwrap().path;
        let server = lyceum_chat::stub::LlamaCpp::start(&gguf, 1_024).unwrap();
        let spec = JudgeSpec { profile: Profile::LlamaCpp, ..JudgeSpec::default() };
        let scores = Endpoint::new(&spec, server.address()).ask_all(&[question(0), question(0)]);
        eprintln!("{scores:?}");
        let value = scores[0].value().unwrap();
        assert!((0.0..=1.0).contains(&value));
        assert_eq!(scores[0], scores[1]);
    }
}
