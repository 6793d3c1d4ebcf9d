//! `lyceum chat`.

use std::io::{BufRead, Write};

use anyhow::Result;
use lyceum_engine::{Event, Request, Stop};
use lyceum_stats::{Draw, Purpose};
use lyceum_text::Message;

use crate::cli::ChatArgs;
use crate::models;
use crate::out;
use crate::session::Session;

/// Talks: a line in, an answer out, until the end of input or `/quit`.
pub fn run(session: &Session, arguments: &ChatArgs) -> Result<()> {
    let sampling = arguments.sampling.sampling()?;
    let model = models::load(session, &arguments.model, arguments.adapter.as_deref(), arguments.precision)?;
    session.say(&format!("{}: write a line; /new forgets, /quit ends", model.identity.name));
    let system = arguments.system.as_ref().map(|text| Message::new("system", text.as_str()));
    let mut messages: Vec<Message> = system.iter().cloned().collect();
    let mut turn = 0;
    let (mut input, mut output) = (std::io::stdin().lock(), std::io::stdout());
    loop {
        eprint!("> ");
        std::io::stderr().flush()?;
        let mut line = String::new();
        if input.read_line(&mut line)? == 0 {
            return Ok(());
        }
        match line.trim() {
            "" => continue,
            "/quit" => return Ok(()),
            "/new" => {
                messages = system.iter().cloned().collect();
                continue;
            }
            text => messages.push(Message::new("user", text)),
        }
        let request = Request {
            prompt: model.codec.prompt(&messages)?,
            samples: vec![Draw { seed: arguments.sampling.seed, step: turn, ..Draw::default() }],
            purpose: Purpose::Tokens,
            sampling: sampling.clone(),
            stop: Stop {
                tokens: model.codec.stop_tokens(),
                strings: arguments.sampling.stop.clone(),
                max_new_tokens: arguments.sampling.max_new_tokens,
            },
            choices: None,
            drawn: 0,
        };
        turn += 1;
        let mut failed = None;
        let answers = model.generator(1).generate(&[request], &mut |event| {
            if let Event::Text { piece, .. } = event {
                failed = failed.take().or(write!(output, "{piece}").and_then(|()| output.flush()).err());
            }
        })?;
        if let Some(error) = failed {
            return Err(error.into());
        }
        out!();
        let Some(answer) = answers.into_iter().flatten().next() else { continue };
        match answer.fault {
            Some(fault) => {
                eprintln!("no answer: {fault}");
                messages.pop();
            }
            None => messages.push(Message::new("assistant", answer.text)),
        }
    }
}
