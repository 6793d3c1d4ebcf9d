//! The `lyceum` program: the command line over everything.
#![forbid(unsafe_code)]

mod arithmetic;
mod cli;
mod commands;
mod endpoints;
mod models;
mod session;

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::Parser;

use crate::cli::{Cli, Command};
use crate::session::Session;

/// Exit codes: 0 done, 1 failed, 2 usage (clap's own).
fn main() -> ExitCode {
    let cli = Cli::parse();
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .without_time()
        .init();
    let session = Session::new(&cli.global);
    let outcome = match cli.command {
        Command::Demo(arguments) => commands::demo::run(&session, &arguments),
        Command::Train(arguments) => commands::train::run(&session, &arguments),
        Command::Rollout(arguments) => commands::rollout::run(&session, &arguments),
        Command::Chat(arguments) => commands::chat::run(&session, &arguments),
        Command::Generate(arguments) => commands::generate::run(&session, &arguments),
        Command::Eval(arguments) => commands::eval::run(&session, &arguments),
        Command::Task(command) => commands::task::run(&session, &command),
        Command::Ask(arguments) => commands::ask::run(&session, &arguments),
        Command::Experiment(arguments) => commands::experiment::run(&session, &arguments),
        Command::Index(command) => commands::index::run(&session, &command),
        Command::Score(command) => commands::score::run(&session, &command),
        Command::Model(command) => commands::model::run(&session, &command),
        Command::Data(command) => commands::data::run(&session, &command),
        Command::Papers => commands::papers::run(&session),
        Command::Reproduce(arguments) => commands::reproduce::run(&session, &arguments),
        Command::View(arguments) => commands::view::run(&session, &arguments),
        Command::Bench(arguments) => commands::bench::run(&session, &arguments),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", told(&error));
            ExitCode::FAILURE
        }
    }
}

/// The error and its causes, each said once, and what to try where the operating system is the last of them.
fn told(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if text.is_empty() {
            text = cause;
        } else if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    let system = error.chain().find_map(|cause| cause.downcast_ref::<std::io::Error>());
    let hint = system.map_or("", lyceum_run::hint);
    if text.contains(hint) { text } else { text + hint }
}
