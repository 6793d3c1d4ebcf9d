//! A reply that comes whole: OpenAI's object `chat.completion`, and the parts it shares with the chunks of a stream.

use serde_json::Value;

use crate::{Alternative, ChatReply, Fault, Finish, TokenLogProb, Usage};

/// Longest piece of a server's words in an error.
const SHOWN: usize = 300;

/// Reads the body of a reply.
///
/// # Errors
/// [`Fault::Garbled`] if it is no JSON, no reply, or an error that came with a status of success.
pub fn reply_of_body(body: &[u8]) -> Result<ChatReply, Fault> {
    let value = json(body)?;
    let choice = value.get("choices").and_then(|choices| choices.get(0));
    let Some(choice) = choice.filter(|choice| choice.is_object()) else {
        return Err(Fault::Garbled("there is no choices[0]".into()));
    };
    let Some(message) = choice.get("message").filter(|message| message.is_object()) else {
        return Err(Fault::Garbled("choices[0] has no message".into()));
    };
    let text = content(message);
    let reasoning = reasoning(message);
    let called = message.get("tool_calls").and_then(Value::as_array).is_some_and(|calls| !calls.is_empty());
    if text.is_none() && reasoning.is_none() && !called {
        return Err(Fault::Garbled("the message has no content".into()));
    }
    Ok(ChatReply {
        text: text.unwrap_or_default(),
        reasoning,
        finish: finish(choice).unwrap_or_default(),
        usage: usage(&value).unwrap_or_default(),
        tokens: tokens(choice),
        ..ChatReply::default()
    })
}

/// JSON that is no error message.
pub(super) fn json(bytes: &[u8]) -> Result<Value, Fault> {
    let value: Value = serde_json::from_slice(bytes)
        .map_err(|error| Fault::Garbled(format!("{error}: {}", shorten(&String::from_utf8_lossy(bytes)))))?;
    match value.get("error") {
        None | Some(Value::Null) => Ok(value),
        Some(_) => Err(Fault::Garbled(format!("the server reports an error: {}", error_text(bytes)))),
    }
}

/// What a server says is wrong: the message in the usual places, else the beginning of the body.
pub(crate) fn error_text(body: &[u8]) -> String {
    let value: Option<Value> = serde_json::from_slice(body).ok();
    let message = value.as_ref().and_then(|value| {
        let error = value.get("error").unwrap_or(value);
        error.as_str().or_else(|| {
            ["message", "detail"].iter().find_map(|key| error.get(key).or_else(|| value.get(key))?.as_str())
        })
    });
    shorten(message.unwrap_or(&String::from_utf8_lossy(body)))
}

/// The beginning of a text on one line, without control characters (terminals obey those).
fn shorten(text: &str) -> String {
    let clean = |c: char| if c.is_control() { ' ' } else { c };
    let short: String = text.trim().chars().take(SHOWN).map(clean).collect();
    if text.trim().chars().nth(SHOWN).is_some() { short + "..." } else { short }
}

/// The text of a message or delta: a string, or the text parts of a list.
pub(super) fn content(message: &Value) -> Option<String> {
    match message.get("content")? {
        Value::String(text) => Some(text.clone()),
        Value::Array(parts) => {
            Some(parts.iter().filter_map(|part| part.get("text").and_then(Value::as_str)).collect())
        }
        _ => None,
    }
}

/// What was thought: `reasoning_content` (DeepSeek, SGLang, llama.cpp) or `reasoning` (vLLM, Ollama).
pub(super) fn reasoning(message: &Value) -> Option<String> {
    let of = |key: &str| message.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
    of("reasoning_content").or_else(|| of("reasoning")).map(str::to_owned)
}

pub(super) fn finish(choice: &Value) -> Option<Finish> {
    Some(match choice.get("finish_reason")?.as_str()? {
        "stop" | "eos" => Finish::Stop,
        "length" => Finish::Length,
        "tool_calls" | "function_call" => Finish::ToolCalls,
        other => Finish::Other(shorten(other)),
    })
}

pub(super) fn usage(value: &Value) -> Option<Usage> {
    let usage = value.get("usage").filter(|usage| usage.is_object())?;
    let of = |key: &str| usage.get(key).and_then(Value::as_u64).unwrap_or(0);
    Some(Usage { prompt_tokens: of("prompt_tokens"), completion_tokens: of("completion_tokens") })
}

/// The tokens' log-probabilities; what is not finite, or no number, is left out.
pub(super) fn tokens(choice: &Value) -> Vec<TokenLogProb> {
    let content = choice.get("logprobs").and_then(|logprobs| logprobs.get("content")?.as_array());
    let read = |entry: &Value| {
        let Alternative { token, logprob } = alternative(entry)?;
        let top = entry.get("top_logprobs").and_then(Value::as_array);
        let mut top: Vec<Alternative> = top.into_iter().flatten().filter_map(alternative).collect();
        top.sort_by(|a, b| b.logprob.total_cmp(&a.logprob));
        Some(TokenLogProb { token, logprob, top })
    };
    content.into_iter().flatten().filter_map(read).collect()
}

fn alternative(entry: &Value) -> Option<Alternative> {
    let logprob = entry.get("logprob")?.as_f64().filter(|logprob| logprob.is_finite())?;
    Some(Alternative { token: entry.get("token")?.as_str()?.to_owned(), logprob })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &str) -> Result<ChatReply, Fault> {
        reply_of_body(body.as_bytes())
    }

    #[test]
    fn replies_of_several_servers() {
        let reply = read(
            r#"{"choices": [{"message": {"content": "4", "reasoning": "2+2"}, "finish_reason": "length",
            "logprobs": {"content": [{"token": "4", "logprob": -0.5, "top_logprobs":
                [{"token": "5", "logprob": -2}, {"token": "4", "logprob": -0.5}, {"token": "6", "logprob": null}, 3]}]}}],
            "usage": {"prompt_tokens": 7, "completion_tokens": 1}}"#,
        )
        .unwrap();
        assert_eq!((reply.text.as_str(), reply.reasoning.as_deref()), ("4", Some("2+2")));
        assert_eq!(reply.finish, Finish::Length);
        assert_eq!(reply.usage, Usage { prompt_tokens: 7, completion_tokens: 1 });
        let top: Vec<&str> = reply.tokens[0].top.iter().map(|a| a.token.as_str()).collect();
        assert_eq!(top, ["4", "5"]);
        let parts = read(r#"{"choices": [{"message": {"content": [{"type": "text", "text": "a"}, {"text": "b"}], "reasoning_content": "r"}}]}"#).unwrap();
        assert_eq!((parts.text.as_str(), parts.reasoning.as_deref()), ("ab", Some("r")));
        let thought =
            read(r#"{"choices": [{"message": {"content": null, "reasoning_content": "r"}}]}"#).unwrap();
        assert_eq!(thought.text, "");
    }

    #[test]
    fn what_is_no_reply_is_garbled() {
        for body in [
            "",
            "hello",
            "[]",
            "{}",
            "null",
            r#"{"choices": []}"#,
            r#"{"choices": [3]}"#,
            r#"{"choices": [{"message": "x"}]}"#,
            r#"{"choices": [{"message": {}}]}"#,
            r#"{"error": {"message": "busy"}, "choices": [{"message": {"content": "x"}}]}"#,
        ] {
            assert!(matches!(read(body), Err(Fault::Garbled(_))), "{body}");
        }
        assert!(reply_of_body(b"{\"choices\": [{\"message\": {\"content\": \"\xff\"}}]}").is_err());
        assert!(read(&"[".repeat(100_000)).is_err());
    }

    #[test]
    fn a_servers_complaint_is_found_and_shortened() {
        assert_eq!(error_text(br#"{"error": {"message": "no such model"}}"#), "no such model");
        assert_eq!(error_text(br#"{"detail": "bad"}"#), "bad");
        assert_eq!(error_text(br#"{"error": "bad"}"#), "bad");
        assert_eq!(error_text(b"a\x1b[31m\nb"), "a [31m b");
        assert_eq!(error_text(&[b'x'; 400]).len(), 303);
    }
}
