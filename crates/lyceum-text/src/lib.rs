//! Text in and out of a language model.
//!
//! - [`Tokenizer`]: one `tokenizer.json` pipeline, wherever it came from: a Hugging Face folder, the
//!   metadata of a GGUF file, or a vocabulary made here for a tiny model; [`TextStream`] decodes as tokens arrive.
//! - [`ChatTemplate`]: [`Message`]s to the text a model was trained on, by the template that came with it.
//! - [`encode_chat`]: a conversation to token ids with the mask of what the assistant wrote.
//! - [`TagGrammar`]: `<think>`, `<answer>`, ... in what a model wrote.
#![forbid(unsafe_code)]

mod chat;
mod deep_stack;
mod error;
mod folder;
mod gguf;
mod message;
mod pipeline;
mod python_filters;
mod python_json;
mod python_methods;
mod python_text;
mod stream;
mod tags;
mod template;
mod tiny;
mod tokenizer;

pub use chat::{EncodedChat, TrainOn, encode_chat, encode_prompt};
pub use error::{Error, Result};
pub use gguf::GgufVocabulary;
pub use jiff::civil::DateTime;
pub use message::{Content, FunctionCall, Message, Part, ToolCall};
pub use stream::TextStream;
pub use tags::{TagFault, TagGrammar, TagParse, TagSpan};
pub use template::{ChatTemplate, RenderOptions};
pub use tiny::ControlTokens;
pub use tokenizer::{SpecialIds, SpecialTokens, Tokenizer};
