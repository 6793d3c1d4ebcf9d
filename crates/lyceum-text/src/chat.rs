//! Conversations to token ids, with the mask of what the model should learn to write.

use std::ops::Range;

use crate::{ChatTemplate, Error, Message, RenderOptions, Result, Tokenizer};

/// Which messages a model learns from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TrainOn {
    /// Every message of the assistant.
    AllAssistant,
    /// The last message, if it is the assistant's. Right for templates that rewrite earlier turns (such as those that
    /// drop earlier thoughts): give each turn as its own example.
    LastAssistant,
}

/// A conversation as ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncodedChat {
    /// The whole conversation.
    pub ids: Vec<u32>,
    /// For each id, whether the model wrote it: the loss mask.
    pub loss: Vec<bool>,
}

/// Ids of the prompt for the next answer: the conversation with the header of an answer.
///
/// # Errors
/// [`Error::Template`] and [`Error::Tokenizer`].
pub fn encode_prompt(
    tokenizer: &Tokenizer,
    template: &ChatTemplate,
    messages: &[Message],
    options: &RenderOptions,
) -> Result<Vec<u32>> {
    let options = RenderOptions { add_generation_prompt: true, ..options.clone() };
    tokenizer.encode(&template.render(messages, &options)?)
}

/// Ids of a conversation and the mask of the assistant's part in it.
///
/// Where the assistant writes is told by the template's `{% generation %}` blocks if it has them, as `transformers`
/// does; else by rendering the conversation up to each of its messages with the header of an answer: what the whole
/// then goes on with, through the last end-of-sequence token of that message, is the assistant's. Text on the two
/// sides of a boundary is encoded apart, as it is when the model answers a prompt.
///
/// # Errors
/// [`Error::Template`], [`Error::Tokenizer`]; [`Error::Turn`] if the conversation up to some message is not how the
/// whole begins.
pub fn encode_chat(
    tokenizer: &Tokenizer,
    template: &ChatTemplate,
    messages: &[Message],
    options: &RenderOptions,
    train_on: TrainOn,
) -> Result<EncodedChat> {
    let options = RenderOptions { add_generation_prompt: false, ..options.clone() };
    let marked = template.marks_generation();
    let (text, mut spans) = if marked {
        template.render_marked(messages, &options)?
    } else {
        assistant_spans(template, messages, &options, train_on)?
    };
    if train_on == TrainOn::LastAssistant {
        let answered = messages.last().is_some_and(is_assistant);
        spans.drain(..if answered { spans.len().saturating_sub(1) } else { spans.len() });
    }
    let mut chat = EncodedChat { ids: Vec::new(), loss: Vec::new() };
    let mut done = 0;
    for span in spans {
        chat.push(tokenizer.encode(&text[done..span.start])?, 0);
        let ids = tokenizer.encode(&text[span.clone()])?;
        let end = ids.iter().rposition(|&id| tokenizer.is_eos(id)).filter(|_| !marked);
        let written = end.map_or(ids.len(), |end| end + 1);
        chat.push(ids, written);
        done = span.end;
    }
    chat.push(tokenizer.encode(&text[done..])?, 0);
    Ok(chat)
}

impl EncodedChat {
    /// Appends ids of which the first `written` are the model's.
    fn push(&mut self, ids: Vec<u32>, written: usize) {
        self.loss.extend((0..ids.len()).map(|position| position < written));
        self.ids.extend(ids);
    }
}

fn is_assistant(message: &Message) -> bool {
    message.role == "assistant"
}

/// The conversation as text and, for each message to learn from, where it stands without its header.
fn assistant_spans(
    template: &ChatTemplate,
    messages: &[Message],
    options: &RenderOptions,
    train_on: TrainOn,
) -> Result<(String, Vec<Range<usize>>)> {
    let text = template.render(messages, options)?;
    let asking = RenderOptions { add_generation_prompt: true, ..options.clone() };
    let first = if train_on == TrainOn::AllAssistant { 0 } else { messages.len().saturating_sub(1) };
    let mut spans = Vec::new();
    for index in (first..messages.len()).filter(|&index| is_assistant(&messages[index])) {
        let begin = |part: String, what: &str| {
            let problem = format!(
                "{what} is not how the whole conversation begins, because the template writes earlier turns \
                 differently; train on the last answer only, one example a turn, or put {{% generation %}} blocks \
                 into the template"
            );
            let error = Error::Turn { index, role: messages[index].role.clone(), problem };
            if text.starts_with(&part) { Ok(part.len()) } else { Err(error) }
        };
        let start = begin(template.render(&messages[..index], &asking)?, "its prompt")?;
        let end = if index + 1 == messages.len() {
            text.len()
        } else {
            begin(template.render(&messages[..=index], options)?, "the conversation through it")?
        };
        spans.push(start..end.max(start));
    }
    Ok((text, spans))
}
