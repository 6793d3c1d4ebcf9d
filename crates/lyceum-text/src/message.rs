//! Messages of a conversation, in the JSON that OpenAI's chat API and Hugging Face data sets share.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

/// One message. Keys that are not named here are kept in `extra`, so that what is read is written back.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// `system`, `user`, `assistant`, `tool`, ...
    pub role: String,
    /// What it says. `null` and absence are told apart: templates may.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub content: Option<Content>,
    /// What the model thought before it answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning_content: Option<String>,
    /// Tools the assistant called.
    #[serde(default, deserialize_with = "null_is_empty", skip_serializing_if = "Vec::is_empty")]
    pub tool_calls: Vec<ToolCall>,
    /// The call that a `tool` message answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_call_id: Option<String>,
    /// Who speaks, or which tool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Everything else.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// What a message says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Content {
    /// Plain text.
    Text(String),
    /// Texts, images, ...
    Parts(Vec<Part>),
    /// `null`, as the API writes it beside tool calls.
    Null,
}

/// A part of a message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Part {
    /// `text`, `image_url`, ...
    #[serde(rename = "type")]
    pub kind: String,
    /// The text of a `text` part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Everything else.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// A call of a tool.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ToolCall {
    /// Names the call for the message that answers it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// `function`.
    #[serde(rename = "type", default = "function")]
    pub kind: String,
    /// The function and its arguments.
    pub function: FunctionCall,
}

/// A function and its arguments.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FunctionCall {
    /// Its name.
    pub name: String,
    /// JSON text (OpenAI) or an object (Hugging Face); see [`FunctionCall::decoded_arguments`].
    pub arguments: Value,
}

impl Message {
    /// A message of plain text.
    #[must_use]
    pub fn new(role: impl Into<String>, text: impl Into<String>) -> Self {
        Self { role: role.into(), content: Some(Content::Text(text.into())), ..Self::default() }
    }

    /// What the message says, its text parts joined; empty if it says nothing.
    #[must_use]
    pub fn text(&self) -> String {
        match &self.content {
            Some(Content::Text(text)) => text.clone(),
            Some(Content::Parts(parts)) => parts.iter().filter_map(|part| part.text.as_deref()).collect(),
            Some(Content::Null) | None => String::new(),
        }
    }
}

impl FunctionCall {
    /// The arguments as the object most chat templates expect: JSON text is read, anything else stays.
    #[must_use]
    pub fn decoded_arguments(&self) -> Value {
        let read = self.arguments.as_str().and_then(|text| serde_json::from_str(text).ok());
        read.filter(Value::is_object).unwrap_or_else(|| self.arguments.clone())
    }
}

fn function() -> String {
    "function".to_owned()
}

/// Keeps a `null` that is there.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Content>, D::Error> {
    Content::deserialize(deserializer).map(Some)
}

fn null_is_empty<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<ToolCall>, D::Error> {
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn json_comes_back_as_it_was() {
        for message in [
            json!({"role": "user", "content": "hi"}),
            json!({"role": "assistant", "content": null, "tool_calls": [{"id": "c1", "type": "function",
                "function": {"name": "add", "arguments": "{\"a\": 1}"}}]}),
            json!({"role": "assistant", "reasoning_content": "hm", "weight": 0}),
            json!({"role": "tool", "content": "3", "tool_call_id": "c1", "name": "add"}),
            json!({"role": "user", "content": [{"type": "text", "text": "see"},
                {"type": "image_url", "image_url": {"url": "x"}}]}),
        ] {
            let read: Message = serde_json::from_value(message.clone()).unwrap();
            assert_eq!(serde_json::to_value(read).unwrap(), message);
        }
    }

    #[test]
    fn text_is_the_text_parts() {
        let parts = json!({"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "image"},
            {"type": "text", "text": "b"}]});
        assert_eq!(serde_json::from_value::<Message>(parts).unwrap().text(), "ab");
        assert_eq!(Message::new("user", "hi").text(), "hi");
        assert_eq!(Message::default().text(), "");
    }

    #[test]
    fn arguments_are_read_if_they_are_an_object() {
        let decoded = |arguments| FunctionCall { name: "f".into(), arguments }.decoded_arguments();
        assert_eq!(decoded(json!("{\"a\": 1}")), json!({"a": 1}));
        assert_eq!(decoded(json!({"a": 1})), json!({"a": 1}));
        assert_eq!(decoded(json!("not json")), json!("not json"));
        assert_eq!(decoded(json!("12")), json!("12"));
    }
}
