//! A judge of whole answers: the component `judge`, by a reward model or by a chat model behind an endpoint.

use std::time::Duration;

use lyceum_engine::{Model, Steps, judge};
use lyceum_trace::{Score, Trace};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

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
            name: "default".into(),
            key_env: None,
            instruction: "Grade the answer to the question from 1 (worst) to 9 (best). Reply with one digit."
                .into(),
            deadline: 30.0,
        }
    }
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
    agent: ureq::Agent,
    spec: JudgeSpec,
    url: String,
    key: Option<String>,
}

/// Longest reply that is read, in bytes.
const LONGEST_REPLY: u64 = 1 << 20;
/// Attempts at a question.
const ATTEMPTS: u32 = 3;
/// Questions in a row without a grade after which the rest of a round is not asked: a dead endpoint costs minutes, not hours.
const HOPELESS: usize = 3;

impl Endpoint {
    pub(super) fn new(spec: &JudgeSpec, address: &str) -> Self {
        let deadline = Duration::try_from_secs_f64(spec.deadline).unwrap_or(Duration::from_secs(30));
        let config = ureq::Agent::config_builder()
            .timeout_global(Some(deadline))
            .tls_config(
                ureq::tls::TlsConfig::builder().root_certs(ureq::tls::RootCerts::PlatformVerifier).build(),
            )
            .build();
        Self {
            agent: config.into(),
            spec: spec.clone(),
            url: format!("{}/chat/completions", address.trim_end_matches('/')),
            key: spec.key_env.as_ref().and_then(|name| std::env::var(name).ok()),
        }
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
        let asked = format!("Question:\n{}\n\nAnswer:\n{}", question.prompt, question.completion);
        let body = json!({
            "model": self.spec.name, "max_tokens": 1, "temperature": 0, "logprobs": true, "top_logprobs": 20,
            "messages": [
                {"role": "system", "content": self.spec.instruction}, {"role": "user", "content": asked},
            ],
        });
        let mut cause = String::new();
        for attempt in 0..ATTEMPTS {
            if attempt > 0 {
                std::thread::sleep(Duration::from_millis(200 << attempt));
            }
            match self.post(&body) {
                Ok(reply) => match expected_grade(&reply) {
                    Some(grade) => return Score::of((grade - 1.0) / 8.0),
                    None => cause = "the reply holds no grade from 1 to 9".into(),
                },
                Err(error) => cause = error,
            }
        }
        Score::Failed(format!("the judge at {} failed {ATTEMPTS} times: {cause}", self.url))
    }

    fn post(&self, body: &Value) -> std::result::Result<Value, String> {
        let mut request = self.agent.post(&self.url).header("Content-Type", "application/json");
        if let Some(key) = &self.key {
            request = request.header("Authorization", format!("Bearer {key}"));
        }
        let mut response = request.send(body.to_string()).map_err(|error| error.to_string())?;
        let text = response.body_mut().with_config().limit(LONGEST_REPLY).read_to_string();
        serde_json::from_str(&text.map_err(|error| error.to_string())?).map_err(|error| error.to_string())
    }
}

/// The expected digit of a reply: by the probabilities of its first token where they are told, else the digit that was said.
fn expected_grade(reply: &Value) -> Option<f64> {
    let choice = reply.get("choices")?.get(0)?;
    let digit = |text: &str| text.trim().parse::<u8>().ok().filter(|grade| (1..=9).contains(grade));
    let top = choice.get("logprobs").and_then(|l| l.get("content")?.get(0)?.get("top_logprobs")?.as_array());
    let weigh = |entry: &Value| {
        let grade = digit(entry.get("token")?.as_str()?)?;
        Some((f64::from(grade), entry.get("logprob")?.as_f64()?.exp()))
    };
    let weighed: Vec<(f64, f64)> = top.into_iter().flatten().filter_map(weigh).collect();
    let mass: f64 = weighed.iter().map(|(_, weight)| weight).sum();
    if mass.is_finite() && mass > 0.0 {
        return Some(weighed.iter().map(|(grade, weight)| grade * weight).sum::<f64>() / mass);
    }
    let said = choice.get("message")?.get("content")?.as_str()?;
    said.split_whitespace().next().and_then(digit).map(f64::from)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn grades_are_expected_values() {
        let told = |entries: Value| json!({"choices": [{"message": {"content": "7"}, "logprobs": {"content": [{"top_logprobs": entries}]}}]});
        let entries = json!([
            {"token": "8", "logprob": 0.5f64.ln()}, {"token": " 4", "logprob": 0.25f64.ln()},
            {"token": "good", "logprob": 0.25f64.ln()},
        ]);
        let grade = expected_grade(&told(entries)).unwrap();
        assert!((grade - (8.0 * 0.5 + 4.0 * 0.25) / 0.75).abs() < 1e-9);
        assert_eq!(expected_grade(&told(json!([{"token": "x", "logprob": -1.0}]))), Some(7.0));
        assert_eq!(expected_grade(&json!({"choices": [{"message": {"content": "no"}}]})), None);
        assert_eq!(expected_grade(&json!({"choices": [{"message": {"content": "10"}}]})), None);
        assert_eq!(expected_grade(&json!([])), None);
    }

    /// A server that answers each connection with the next of these, and nothing to `stall`.
    fn server(answers: Vec<&'static str>) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}/v1", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            let mut held = Vec::new();
            for (answer, stream) in answers.into_iter().zip(listener.incoming()) {
                let mut stream = stream.unwrap();
                let mut head = [0; 4_096];
                let _ = stream.read(&mut head);
                if answer != "stall" {
                    let _ = stream.write_all(answer.as_bytes());
                } else {
                    held.push(stream);
                }
            }
        });
        address
    }

    const GOOD: &str = "HTTP/1.1 200 OK\r\nContent-Length: 43\r\nConnection: close\r\n\r\n{\"choices\": [{\"message\":{\"content\":\"9\"}}]} ";
    const CUT: &str = "HTTP/1.1 200 OK\r\nContent-Length: 500\r\nConnection: close\r\n\r\n{\"choices\": [";
    const GARBAGE: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello";
    const BROKEN: &str = "HTTP/1.1 500 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

    #[test]
    fn a_judge_that_stalls_or_babbles_is_asked_again_and_then_given_up() {
        let ask = |answers: Vec<&'static str>| {
            let spec = JudgeSpec { deadline: 0.5, ..JudgeSpec::default() };
            let question =
                Question { id: "x".into(), prompt: "1+1?".into(), completion: "2".into(), answer: None };
            Endpoint::new(&spec, &server(answers)).ask(&question)
        };
        assert_eq!(ask(vec![GOOD]), Score::Value(1.0));
        assert_eq!(ask(vec![BROKEN, CUT, GOOD]), Score::Value(1.0));
        assert_eq!(ask(vec!["stall", GOOD]), Score::Value(1.0));
        let Score::Failed(cause) = ask(vec![GARBAGE, GARBAGE, BROKEN]) else { panic!() };
        assert!(cause.contains("failed 3 times") && cause.contains("500"), "{cause}");
    }

    #[test]
    fn a_dead_judge_is_given_up_for_the_round() {
        let spec = JudgeSpec { deadline: 0.2, ..JudgeSpec::default() };
        // Nobody listens on a port that was just given back.
        let address =
            format!("http://{}/v1", TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap());
        let question = |id: usize| Question {
            id: id.to_string(),
            prompt: "1+1?".into(),
            completion: "2".into(),
            answer: None,
        };
        let scores = Endpoint::new(&spec, &address).ask_all(&(0..6).map(question).collect::<Vec<_>>());
        let given_up = |score: &Score| matches!(score, Score::Failed(cause) if cause.contains("not asked"));
        assert_eq!(scores.iter().map(given_up).collect::<Vec<_>>(), [false, false, false, true, true, true]);
    }
}
