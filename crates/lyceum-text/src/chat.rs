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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{ControlTokens, SpecialTokens};

    const CHATML: &str = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}\
                          {% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";
    /// Drops what was thought in all answers but the last.
    const FORGETFUL: &str = "{% for m in messages %}[{{ m.role }}]\
        {{ m.content if loop.last else m.content.split('</think>')[-1] }}<|im_end|>{% endfor %}\
        {% if add_generation_prompt %}[assistant]{% endif %}";

    fn conversation() -> Vec<Message> {
        let turns = [
            ("user", "1+1?"),
            ("assistant", "<think>a</think>2"),
            ("user", "2+2?"),
            ("assistant", "<think>b</think>4"),
        ];
        turns.map(|(role, text)| Message::new(role, text)).to_vec()
    }

    fn tokenizer(template: &str) -> Tokenizer {
        Tokenizer::bytes(&ControlTokens::default()).unwrap().with_chat_template(template)
    }

    /// What the mask leaves, `…` between its pieces.
    fn learnt(template: &str, messages: &[Message], train_on: TrainOn) -> Result<String> {
        let tokenizer = tokenizer(template);
        let options = RenderOptions::default();
        let chat = encode_chat(&tokenizer, &tokenizer.chat_template()?, messages, &options, train_on)?;
        assert_eq!(chat.ids.len(), chat.loss.len());
        let whole = tokenizer.chat_template()?.render(messages, &options)?;
        assert_eq!(tokenizer.decode(&chat.ids, SpecialTokens::Keep)?, whole);
        let mut text = String::new();
        for (index, &id) in chat.ids.iter().enumerate().filter(|&(index, _)| chat.loss[index]) {
            if index > 0 && !chat.loss[index - 1] && !text.is_empty() {
                text += "…";
            }
            text += &tokenizer.decode(&[id], SpecialTokens::Keep)?;
        }
        Ok(text)
    }

    #[test]
    fn a_model_learns_its_answers_through_their_end() {
        let chat = conversation();
        let all = learnt(CHATML, &chat, TrainOn::AllAssistant).unwrap();
        assert_eq!(all, "<think>a</think>2<|im_end|>…<think>b</think>4<|im_end|>");
        assert_eq!(learnt(CHATML, &chat, TrainOn::LastAssistant).unwrap(), "<think>b</think>4<|im_end|>");
        assert_eq!(learnt(CHATML, &chat[..3], TrainOn::AllAssistant).unwrap(), "<think>a</think>2<|im_end|>");
        assert_eq!(learnt(CHATML, &chat[..3], TrainOn::LastAssistant).unwrap(), "");
    }

    #[test]
    fn blocks_decide_where_there_are_any() {
        let marked = CHATML.replace(
            "{{ m.content }}",
            "{% if m.role == 'assistant' %}{% generation %}{{ m.content }}{% endgeneration %}{% else %}{{ m.content }}{% endif %}",
        );
        let chat = conversation();
        assert_eq!(
            learnt(&marked, &chat, TrainOn::AllAssistant).unwrap(),
            "<think>a</think>2…<think>b</think>4"
        );
        assert_eq!(learnt(&marked, &chat, TrainOn::LastAssistant).unwrap(), "<think>b</think>4");
        assert_eq!(learnt(&marked, &chat[..3], TrainOn::LastAssistant).unwrap(), "");
    }

    #[test]
    fn a_template_that_rewrites_turns_is_found_out() {
        let chat = conversation();
        let error = learnt(FORGETFUL, &chat, TrainOn::AllAssistant).unwrap_err().to_string();
        assert!(
            error.starts_with("message 1 (assistant): the conversation through it is not how"),
            "{error}"
        );
        assert_eq!(learnt(FORGETFUL, &chat, TrainOn::LastAssistant).unwrap(), "<think>b</think>4<|im_end|>");
        assert_eq!(
            learnt(FORGETFUL, &chat[..2], TrainOn::AllAssistant).unwrap(),
            "<think>a</think>2<|im_end|>"
        );
    }

    #[test]
    fn a_prompt_ends_with_the_header_of_an_answer() {
        let tokenizer = tokenizer(CHATML);
        let template = tokenizer.chat_template().unwrap();
        let ids =
            encode_prompt(&tokenizer, &template, &conversation()[..1], &RenderOptions::default()).unwrap();
        let text = tokenizer.decode(&ids, SpecialTokens::Keep).unwrap();
        assert_eq!(text, "<|im_start|>user\n1+1?<|im_end|>\n<|im_start|>assistant\n");
    }

    proptest! {
        #[test]
        fn training_continues_the_prompt(turns in prop::collection::vec("[a-c \n]{0,4}(<.im_end.>)?", 1..6)) {
            let roles = ["user", "assistant"].into_iter().cycle();
            let chat: Vec<Message> = turns.iter().zip(roles).map(|(text, role)| Message::new(role, text)).collect();
            let tokenizer = tokenizer(CHATML);
            let template = tokenizer.chat_template().unwrap();
            let options = RenderOptions::default();
            let whole = encode_chat(&tokenizer, &template, &chat, &options, TrainOn::AllAssistant).unwrap();
            for index in (1..chat.len()).step_by(2) {
                let prompt = encode_prompt(&tokenizer, &template, &chat[..index], &options).unwrap();
                prop_assert_eq!(&whole.ids[..prompt.len()], &prompt);
                prop_assert!(!whole.loss[prompt.len() - 1] && whole.loss[prompt.len()]);
            }
            let written = whole.loss.iter().filter(|&&loss| loss).count();
            let answers = chat.iter().filter(|message| is_assistant(message));
            let expected: usize = answers.map(|m| tokenizer.encode(&m.text()).unwrap().len() + 1).sum();
            prop_assert_eq!(written, expected);
        }
    }
}
