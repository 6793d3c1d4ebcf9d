//! `lyceum generate`.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use lyceum_chat::{ChatModel, ChatReply, ChatRequest, Delta, ask_all};
use lyceum_engine::{Choices, Completion, Event, Model, Request, Stop};
use lyceum_stats::{Draw, Purpose};
use lyceum_text::Message;
use rand::RngCore;
use serde::{Deserialize, Serialize};

use crate::cli::GenerateArgs;
use crate::out;
use crate::session::Session;

/// A line of a prompts file. Other keys are carried over to the answer.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Prompt {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    prompt: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    messages: Option<Vec<Message>>,
    #[serde(flatten)]
    rest: serde_json::Map<String, serde_json::Value>,
}

#[derive(Serialize)]
struct Answer<'a> {
    #[serde(flatten)]
    prompt: &'a Prompt,
    model: &'a str,
    prompt_ids: &'a [u32],
    completions: &'a [Completion],
}

/// Completes a prompt or a file of prompts.
pub fn run(session: &Session, arguments: &GenerateArgs) -> Result<()> {
    let prompts = match (&arguments.prompt, &arguments.prompts) {
        (Some(text), _) => {
            vec![Prompt { prompt: Some(text.clone()), messages: None, rest: Default::default() }]
        }
        (None, Some(path)) => read_prompts(path)?,
        (None, None) => bail!("give a prompt, or --prompts FILE.jsonl"),
    };
    let sampling = arguments.sampling.sampling()?;
    if let Some(endpoint) = arguments.endpoint.open(&arguments.sampling)? {
        return elsewhere(session, arguments, &prompts, endpoint.as_ref());
    }
    let model = arguments.model.load(session)?;
    let requests = prompts
        .iter()
        .enumerate()
        .map(|(index, prompt)| request(&model, prompt, index as u64, arguments, &sampling))
        .collect::<Result<Vec<Request>>>()?;
    let one = requests.len() == 1 && arguments.n == 1 && arguments.out.is_none() && !session.json;
    let mut stdout = std::io::stdout();
    let mut broken = false;
    let completions = model.generator(arguments.batch).generate(&requests, &mut |event| {
        if let (true, Event::Text { piece, .. }) = (one, &event) {
            // A reader that went away is no reason to fail: the answer is still computed and reported.
            broken |= write!(stdout, "{piece}").and_then(|()| stdout.flush()).is_err();
        }
    })?;
    let answers: Vec<Answer<'_>> = prompts
        .iter()
        .zip(&requests)
        .zip(&completions)
        .map(|((prompt, request), completions)| Answer {
            prompt,
            model: &model.identity.name,
            prompt_ids: &request.prompt,
            completions,
        })
        .collect();
    if let Some(out) = &arguments.out {
        write_answers(session, out, &answers)?;
    } else if session.json {
        session.print_json(&answers)?;
    } else if one {
        if !broken {
            out!();
        }
    } else {
        print_answers(&answers);
    }
    match completions.iter().flatten().find_map(|completion| completion.fault.as_ref()) {
        Some(fault) if completions.iter().flatten().all(|c| c.fault.is_some()) => bail!("no answer: {fault}"),
        Some(fault) => {
            session.say(&format!("some prompts have no answer: {fault}"));
            Ok(())
        }
        None => Ok(()),
    }
}

/// Writes answers as JSON lines.
fn write_answers(session: &Session, out: &Path, answers: &[impl Serialize]) -> Result<()> {
    let mut text = String::new();
    for answer in answers {
        text.push_str(&serde_json::to_string(answer)?);
        text.push('\n');
    }
    lyceum_run::write_file(out, text.as_bytes())?;
    session.say(&format!("{} answers in {}", answers.len(), out.display()));
    Ok(())
}

/// An answer of a model behind an address: its tokens are not known.
#[derive(Serialize)]
struct ReplyLine<'a> {
    #[serde(flatten)]
    prompt: &'a Prompt,
    model: &'a str,
    /// `null` for a call that failed.
    replies: Vec<Option<ChatReply>>,
}

/// Has a model behind an address complete the prompts.
fn elsewhere(
    session: &Session,
    arguments: &GenerateArgs,
    prompts: &[Prompt],
    model: &dyn ChatModel,
) -> Result<()> {
    let mut requests = Vec::new();
    for (index, prompt) in prompts.iter().enumerate() {
        let messages = match (&prompt.messages, &prompt.prompt) {
            (Some(messages), _) => messages.clone(),
            (None, Some(text)) => vec![Message::new("user", text.as_str())],
            (None, None) => bail!("prompt {}: give \"prompt\" or \"messages\"", index + 1),
        };
        for sample in 0..arguments.n as u64 {
            let draw = Draw { seed: arguments.sampling.seed, step: 0, prompt: index as u64, sample };
            requests.push(ChatRequest {
                temperature: f64::from(arguments.sampling.temperature),
                top_p: f64::from(arguments.sampling.top_p),
                seed: Some(draw.rng(Purpose::Tokens).next_u64()),
                stop: arguments.sampling.stop.clone(),
                choices: arguments.choice.clone(),
                ..ChatRequest::greedy(messages.clone(), arguments.sampling.max_new_tokens)
            });
        }
    }
    if let ([request], None, false) = (requests.as_slice(), &arguments.out, session.json) {
        let mut stdout = std::io::stdout();
        model.stream(request, &mut |delta| {
            // A reader that went away is no reason to fail.
            let _ = match delta {
                Delta::Text(piece) => write!(stdout, "{piece}").and_then(|()| stdout.flush()),
                Delta::Reasoning(_) => Ok(()),
                Delta::Again => writeln!(stdout, "\n(the reply broke off; again)"),
            };
        })?;
        out!();
        return Ok(());
    }
    let mut fault = None;
    let mut replies = ask_all(model, &requests, arguments.batch).into_iter().map(|reply| match reply {
        Ok(reply) => Some(reply),
        Err(error) => {
            fault = Some(error);
            None
        }
    });
    let answers: Vec<ReplyLine<'_>> = prompts
        .iter()
        .map(|prompt| {
            let replies = replies.by_ref().take(arguments.n).collect();
            ReplyLine { prompt, model: model.name(), replies }
        })
        .collect();
    drop(replies);
    if let Some(out) = &arguments.out {
        write_answers(session, out, &answers)?;
    } else if session.json {
        session.print_json(&answers)?;
    } else {
        for (index, answer) in answers.iter().enumerate() {
            for (sample, reply) in answer.replies.iter().enumerate() {
                out!("--- prompt {} sample {}", index + 1, sample + 1);
                out!("{}", reply.as_ref().map_or("(no reply)", |reply| reply.text.trim_end()));
            }
        }
    }
    match fault {
        Some(fault) if answers.iter().all(|answer| answer.replies.iter().all(Option::is_none)) => {
            Err(fault).context("no answer")
        }
        Some(fault) => {
            session.say(&format!("some prompts have no answer: {fault}"));
            Ok(())
        }
        None => Ok(()),
    }
}

fn request(
    model: &Model,
    prompt: &Prompt,
    index: u64,
    arguments: &GenerateArgs,
    sampling: &lyceum_engine::Sampling,
) -> Result<Request> {
    let tokenizer = model.codec.tokenizer();
    let ids = match (&prompt.messages, &prompt.prompt) {
        (Some(messages), _) => model.codec.prompt(messages)?,
        (None, Some(text)) if arguments.raw => tokenizer.encode_document(text)?,
        (None, Some(text)) => model.codec.prompt(&[Message::new("user", text.as_str())])?,
        (None, None) => bail!("prompt {}: give \"prompt\" or \"messages\"", index + 1),
    };
    let choices = match arguments.choice.as_slice() {
        [] => None,
        choices => {
            let ids: Vec<Vec<u32>> =
                choices.iter().map(|choice| Ok(tokenizer.encode(choice)?)).collect::<Result<_>>()?;
            Some(Arc::new(Choices::new(ids.iter().map(Vec::as_slice))))
        }
    };
    let draw = |sample| Draw { seed: arguments.sampling.seed, step: 0, prompt: index, sample };
    Ok(Request {
        prompt: ids,
        samples: (0..arguments.n as u64).map(draw).collect(),
        purpose: Purpose::Tokens,
        sampling: sampling.clone(),
        stop: Stop {
            tokens: model.codec.stop_tokens(),
            strings: arguments.sampling.stop.clone(),
            max_new_tokens: arguments.sampling.max_new_tokens,
        },
        choices,
        drawn: 0,
    })
}

fn read_prompts(path: &Path) -> Result<Vec<Prompt>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let prompts = lines.map(|(number, line)| {
        let parsed: Prompt = serde_json::from_str(line).with_context(|| {
            format!(
                "{}:{}: a line is {{\"prompt\": ...}} or {{\"messages\": [...]}}",
                path.display(),
                number + 1
            )
        })?;
        anyhow::ensure!(
            parsed.prompt.is_some() || parsed.messages.is_some(),
            "{}:{}: neither \"prompt\" nor \"messages\"",
            path.display(),
            number + 1
        );
        Ok(parsed)
    });
    prompts.collect()
}

fn print_answers(answers: &[Answer<'_>]) {
    for (index, answer) in answers.iter().enumerate() {
        for (sample, completion) in answer.completions.iter().enumerate() {
            out!("--- prompt {} sample {}", index + 1, sample + 1);
            out!("{}", completion.text.trim_end());
        }
    }
}
