//! A reply put together out of the chunks of a stream (OpenAI's objects `chat.completion.chunk`).

use super::body::{content, finish, json, reasoning, tokens, usage};
use super::sse::Event;
use crate::{ChatReply, Delta, Fault, Finish};

/// A reply that grows.
#[derive(Debug, Default)]
pub struct Assembly {
    reply: ChatReply,
    reasoning: String,
    finish: Option<Finish>,
    last_id: Option<String>,
    done: bool,
}

impl Assembly {
    /// Takes an event of the stream; `observe` sees what it adds. An event with the `id` of the one before is a repetition and is
    /// dropped, as is all that comes after `[DONE]`.
    ///
    /// # Errors
    /// [`Fault::Garbled`] for data that is no chunk, or an error of the server's.
    pub fn take(&mut self, event: &Event, observe: &mut dyn FnMut(Delta<'_>)) -> Result<(), Fault> {
        if self.done || (event.id.is_some() && event.id == self.last_id) {
            return Ok(());
        }
        self.last_id.clone_from(&event.id);
        if event.data.trim() == "[DONE]" {
            self.done = true;
            return Ok(());
        }
        let value = json(event.data.as_bytes())?;
        if let Some(usage) = usage(&value) {
            self.reply.usage = usage;
        }
        let Some(choices) = value.get("choices").and_then(serde_json::Value::as_array) else {
            return Err(Fault::Garbled("a chunk has no choices".into()));
        };
        // The chunk that tells the usage has none; only the first choice was asked for.
        let first = |choice: &&serde_json::Value| {
            choice.get("index").and_then(serde_json::Value::as_u64).unwrap_or(0) == 0
        };
        for choice in choices.iter().filter(first) {
            if let Some(delta) = choice.get("delta") {
                if let Some(piece) = reasoning(delta) {
                    self.reasoning.push_str(&piece);
                    observe(Delta::Reasoning(&piece));
                }
                if let Some(piece) = content(delta).filter(|piece| !piece.is_empty()) {
                    self.reply.text.push_str(&piece);
                    observe(Delta::Text(&piece));
                }
            }
            self.reply.tokens.extend(tokens(choice));
            if let Some(why) = finish(choice) {
                self.finish = Some(why);
            }
        }
        Ok(())
    }

    /// Whether the server has said that nothing more comes.
    #[must_use]
    pub const fn is_done(&self) -> bool {
        self.done
    }

    /// The whole reply.
    ///
    /// # Errors
    /// [`Fault::Cut`] if the stream ended without telling why the reply ended: then it was cut off.
    pub fn finish(self) -> Result<ChatReply, Fault> {
        let Some(finish) = self.finish else { return Err(Fault::Cut) };
        let reasoning = Some(self.reasoning).filter(|text| !text.is_empty());
        Ok(ChatReply { finish, reasoning, ..self.reply })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assemble(events: &[(Option<&str>, &str)]) -> (Result<ChatReply, Fault>, String) {
        let (mut assembly, mut seen) = (Assembly::default(), String::new());
        let mut observe = |delta: Delta<'_>| match delta {
            Delta::Text(piece) => seen.push_str(piece),
            Delta::Reasoning(piece) => seen.push_str(&format!("({piece})")),
            Delta::Again => {}
        };
        for (id, data) in events {
            let event = Event { id: id.map(str::to_owned), data: (*data).to_owned() };
            if let Err(fault) = assembly.take(&event, &mut observe) {
                return (Err(fault), seen);
            }
        }
        (assembly.finish(), seen)
    }

    const A: &str = r#"{"choices": [{"delta": {"role": "assistant", "content": "a"}}]}"#;
    const END: &str = r#"{"choices": [{"delta": {}, "finish_reason": "stop"}]}"#;

    #[test]
    fn pieces_make_a_reply() {
        let thought = r#"{"choices": [{"delta": {"reasoning": "hm"}}]}"#;
        let other = r#"{"choices": [{"index": 1, "delta": {"content": "no"}}]}"#;
        let usage = r#"{"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2}}"#;
        let (reply, seen) = assemble(&[
            (None, thought),
            (None, A),
            (None, other),
            (None, A),
            (None, END),
            (None, usage),
            (None, "[DONE]"),
            (None, A),
        ]);
        let reply = reply.unwrap();
        assert_eq!(
            (reply.text.as_str(), reply.reasoning.as_deref(), seen.as_str()),
            ("aa", Some("hm"), "(hm)aa")
        );
        assert_eq!(reply.usage.completion_tokens, 2);
    }

    #[test]
    fn repetitions_by_id_are_dropped() {
        let (reply, _) = assemble(&[(Some("1"), A), (Some("1"), A), (Some("2"), A), (None, END)]);
        assert_eq!(reply.unwrap().text, "aa");
    }

    #[test]
    fn a_stream_without_an_end_was_cut() {
        assert_eq!(assemble(&[(None, A)]).0, Err(Fault::Cut));
        assert_eq!(assemble(&[(None, A), (None, "[DONE]")]).0, Err(Fault::Cut));
        assert!(assemble(&[(None, A), (None, END)]).0.is_ok());
        assert!(matches!(assemble(&[(None, "{}")]).0, Err(Fault::Garbled(_))));
        assert!(matches!(assemble(&[(None, r#"{"error": {"message": "oom"}}"#)]).0, Err(Fault::Garbled(_))));
    }
}
