//! Between conversations and token ids, as one model wants it.

use lyceum_text::{ChatTemplate, Message, RenderOptions, Tokenizer, TrainOn, encode_chat, encode_prompt};

use crate::Result;

/// A tokenizer with the chat template that belongs to it, if the model has one.
#[derive(Clone, Debug)]
pub struct Codec {
    tokenizer: Tokenizer,
    template: Option<ChatTemplate>,
}

/// A conversation that ends in the answer to learn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Demonstration {
    /// The whole conversation.
    pub ids: Vec<u32>,
    /// Positions in `ids` of the tokens to learn: the answer, with the token that ends it.
    pub trained: Vec<u32>,
}

impl Codec {
    /// A codec of a tokenizer and the chat template that came with it. Without a template messages are joined by line
    /// breaks and an answer ends with the first end token.
    ///
    /// # Errors
    /// [`Error::Text`](crate::Error::Text) for a template that does not compile.
    pub fn new(tokenizer: Tokenizer) -> Result<Self> {
        let template = match tokenizer.chat_template_source() {
            Some(_) => Some(tokenizer.chat_template()?),
            None => None,
        };
        Ok(Self { tokenizer, template })
    }

    /// The tokenizer.
    #[must_use]
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// Ids of the prompt for the next answer.
    ///
    /// # Errors
    /// [`Error::Text`](crate::Error::Text) for a template that refuses the messages.
    pub fn prompt(&self, messages: &[Message]) -> Result<Vec<u32>> {
        Ok(match &self.template {
            Some(template) => encode_prompt(&self.tokenizer, template, messages, &RenderOptions::default())?,
            None => self.tokenizer.encode_document(&plain(messages))?,
        })
    }

    /// Ids of the prompt followed by `answer`, with the answer's tokens marked. Prompt and answer are encoded apart,
    /// as they are when the model answers.
    ///
    /// # Errors
    /// As [`prompt`](Self::prompt).
    pub fn demonstration(&self, messages: &[Message], answer: &str) -> Result<Demonstration> {
        let Some(template) = &self.template else {
            let mut ids = self.tokenizer.encode_document(&plain(messages))?;
            let start = ids.len() as u32;
            ids.extend(self.tokenizer.encode(answer)?);
            ids.extend(self.tokenizer.special().eos.first());
            let trained = (start..ids.len() as u32).collect();
            return Ok(Demonstration { ids, trained });
        };
        let mut conversation = messages.to_vec();
        conversation.push(Message::new("assistant", answer));
        let options = RenderOptions::default();
        let chat = encode_chat(&self.tokenizer, template, &conversation, &options, TrainOn::LastAssistant)?;
        let trained = chat.loss.iter().enumerate().filter(|(_, learn)| **learn).map(|(i, _)| i as u32);
        Ok(Demonstration { trained: trained.collect(), ids: chat.ids })
    }

    /// Tokens that end an answer.
    #[must_use]
    pub fn stop_tokens(&self) -> Vec<u32> {
        self.tokenizer.special().eos.clone()
    }
}

fn plain(messages: &[Message]) -> String {
    messages.iter().map(Message::text).collect::<Vec<_>>().join("\n")
}
