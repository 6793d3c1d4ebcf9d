//! What servers that speak OpenAI's chat API do in their own way.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::{ChatReply, ChatRequest};

/// A kind of server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// OpenAI itself, or a server of which no more is known.
    #[default]
    OpenAi,
    /// vLLM.
    Vllm,
    /// SGLang.
    Sglang,
    /// llama.cpp's server, or that of llama-cpp-python.
    LlamaCpp,
    /// Ollama.
    Ollama,
}

impl Profile {
    /// All profiles.
    pub const ALL: [Self; 5] = [Self::OpenAi, Self::Vllm, Self::Sglang, Self::LlamaCpp, Self::Ollama];

    /// Its name in recipes and flags.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::OpenAi => "openai",
            Self::Vllm => "vllm",
            Self::Sglang => "sglang",
            Self::LlamaCpp => "llamacpp",
            Self::Ollama => "ollama",
        }
    }

    /// The body of a request.
    pub(crate) fn body(self, request: &ChatRequest, model: &str, stream: bool) -> Value {
        let mut body = json!({
            "model": model, "messages": request.messages,
            "temperature": request.temperature, "top_p": request.top_p,
        });
        let Some(fields) = body.as_object_mut() else { return body };
        // OpenAI's newer models refuse the old name; the others know only that.
        let most = if self == Self::OpenAi { "max_completion_tokens" } else { "max_tokens" };
        fields.insert(most.into(), request.max_tokens.into());
        if let Some(seed) = request.seed {
            // Several servers read a signed number.
            fields.insert("seed".into(), (seed & (i32::MAX as u64)).into());
        }
        if !request.stop.is_empty() {
            fields.insert("stop".into(), json!(request.stop));
        }
        if let Some(top) = request.top_logprobs {
            fields.insert("logprobs".into(), true.into());
            // llama.cpp tells no log-probability at all when asked for no alternative.
            fields.insert("top_logprobs".into(), top.max(usize::from(self == Self::LlamaCpp)).into());
        }
        if stream {
            fields.insert("stream".into(), true.into());
            fields.insert("stream_options".into(), json!({"include_usage": true}));
        }
        // Servers have defaults of their own for what is not said (llama-cpp-python penalises repetitions, vLLM takes what the model's
        // folder recommends): a request is to mean the same everywhere. Ollama and OpenAI know no such fields.
        let (top_k, penalty) = match self {
            Self::LlamaCpp => (Some(0), Some("repeat_penalty")),
            Self::Vllm | Self::Sglang => (Some(-1), Some("repetition_penalty")),
            Self::OpenAi | Self::Ollama => (None, None),
        };
        if let (Some(top_k), Some(penalty)) = (top_k, penalty) {
            fields.insert("top_k".into(), top_k.into());
            fields.insert("min_p".into(), 0.0.into());
            fields.insert(penalty.into(), 1.0.into());
        }
        if !request.choices.is_empty() {
            self.constrain(fields, &request.choices);
        }
        body
    }

    /// Holds the reply to one of the choices, by whatever the server has for it.
    fn constrain(self, fields: &mut Map<String, Value>, choices: &[String]) {
        match self {
            Self::Vllm => {
                fields.insert("structured_outputs".into(), json!({"choice": choices}));
            }
            Self::Sglang => {
                let pattern: Vec<String> = choices.iter().map(|choice| escape_pattern(choice)).collect();
                fields.insert("regex".into(), format!("({})", pattern.join("|")).into());
            }
            Self::LlamaCpp => {
                let quoted: Vec<String> =
                    choices.iter().map(|choice| Value::from(choice.as_str()).to_string()).collect();
                fields.insert("grammar".into(), format!("root ::= {}", quoted.join(" | ")).into());
            }
            // These know only JSON schemas: the choice comes wrapped in an object.
            Self::OpenAi | Self::Ollama => {
                let schema = json!({
                    "type": "object", "properties": {"choice": {"type": "string", "enum": choices}},
                    "required": ["choice"], "additionalProperties": false,
                });
                fields.insert(
                    "response_format".into(),
                    json!({"type": "json_schema", "json_schema": {"name": "choice", "strict": true, "schema": schema}}),
                );
            }
        }
    }

    /// Takes a choice out of its wrapping and finds which it is.
    pub(crate) fn unwrap_choice(self, reply: &mut ChatReply, choices: &[String]) {
        let wrapped: Option<Value> = match self {
            Self::OpenAi | Self::Ollama => serde_json::from_str(&reply.text).ok(),
            _ => None,
        };
        if let Some(choice) = wrapped.as_ref().and_then(|value| value.get("choice")?.as_str()) {
            reply.text = choice.to_owned();
        }
        reply.choose(choices);
    }
}

impl std::str::FromStr for Profile {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|profile| profile.name() == name).ok_or_else(|| {
            let known: Vec<&str> = Self::ALL.iter().map(|profile| profile.name()).collect();
            format!("no profile is called {name:?}; there are: {}", known.join(", "))
        })
    }
}

fn escape_pattern(text: &str) -> String {
    let mut escaped = String::new();
    for c in text.chars() {
        if r"\.+*?()|[]{}^$".contains(c) {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

#[cfg(test)]
mod tests {
    use lyceum_text::Message;

    use super::*;

    #[test]
    fn each_server_is_asked_in_its_way() {
        let request = ChatRequest {
            choices: vec!["a.b".into(), "\"c\"".into()],
            seed: Some(u64::MAX),
            top_logprobs: Some(0),
            ..ChatRequest::greedy(vec![Message::new("user", "hi")], 5)
        };
        let of = |profile: Profile| profile.body(&request, "m", true);
        assert_eq!(of(Profile::OpenAi)["max_completion_tokens"], 5);
        assert_eq!(of(Profile::Vllm)["max_tokens"], 5);
        assert_eq!(of(Profile::Vllm)["structured_outputs"]["choice"][0], "a.b");
        assert_eq!(of(Profile::Sglang)["regex"], "(a\\.b|\"c\")");
        assert_eq!(of(Profile::LlamaCpp)["grammar"], r#"root ::= "a.b" | "\"c\"""#);
        assert_eq!(of(Profile::LlamaCpp)["top_logprobs"], 1);
        assert_eq!(of(Profile::LlamaCpp)["repeat_penalty"], 1.0);
        assert_eq!(of(Profile::Vllm)["repetition_penalty"], 1.0);
        assert!(of(Profile::OpenAi).get("top_k").is_none());
        assert_eq!(of(Profile::Ollama)["response_format"]["type"], "json_schema");
        assert_eq!(of(Profile::Ollama)["seed"], i32::MAX);
        let mut reply = ChatReply { text: r#"{"choice": "a.b"}"#.into(), ..ChatReply::default() };
        Profile::OpenAi.unwrap_choice(&mut reply, &request.choices);
        assert_eq!((reply.text.as_str(), reply.choice), ("a.b", Some(0)));
    }

    #[test]
    fn names_are_read_back() {
        for profile in Profile::ALL {
            assert_eq!(profile.name().parse(), Ok(profile));
            assert_eq!(serde_json::to_value(profile).unwrap(), profile.name());
        }
        assert!("x".parse::<Profile>().unwrap_err().contains("vllm"));
    }
}
