//! Text in and out of a language model.
//!
//! - [`Tokenizer`]: one `tokenizer.json` pipeline, wherever it came from: a Hugging Face folder, the
//!   metadata of a GGUF file, or a vocabulary made here for a tiny model; [`TextStream`] decodes as tokens arrive.
//! - [`ChatTemplate`]: [`Message`]s to the text a model was trained on, by the template that came with it.
//! - [`encode_chat`]: a conversation to token ids with the mask of what the assistant wrote.
//! - [`TagGrammar`]: `<think>`, `<answer>`, ... in what a model wrote.
//!
//! ```
//! use lyceum_text::{ControlTokens, Message, RenderOptions, Tokenizer, TrainOn, encode_chat};
//!
//! let tokenizer = Tokenizer::units(["1", "2", "+", "=", "\n"], &ControlTokens::default())?.with_chat_template(
//!     "{% for m in messages %}{{ m.content }}{{ '=' if m.role == 'user' else eos_token }}{% endfor %}",
//! );
//! let messages = [Message::new("user", "1+1"), Message::new("assistant", "2")];
//! let template = tokenizer.chat_template()?;
//! let chat = encode_chat(&tokenizer, &template, &messages, &RenderOptions::default(), TrainOn::AllAssistant)?;
//! assert_eq!(chat.ids, [4, 6, 4, 7, 5, 1]);
//! assert_eq!(chat.loss, [false, false, false, false, true, true]);
//! # Ok::<(), lyceum_text::Error>(())
//! ```
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
