//! `lyceum task list | validate`.

use anyhow::{Result, bail};
use lyceum_env::task::{self, TaskSpec};

use crate::cli::TaskCommand;
use crate::session::Session;

/// Lists tasks, or checks that their verifiers call gold answers right and empty ones wrong.
pub fn run(session: &Session, command: &TaskCommand) -> Result<()> {
    match command {
        TaskCommand::List => list(session),
        TaskCommand::Validate { task, limit } => validate(session, task.as_deref(), *limit),
    }
}

fn plain(name: &str) -> TaskSpec {
    TaskSpec { name: name.to_owned(), options: serde_json::Map::new() }
}

fn list(session: &Session) -> Result<()> {
    let _ = (session, plain("chain"), task::names().count());
    bail!("not yet")
}

fn validate(session: &Session, task: Option<&str>, limit: usize) -> Result<()> {
    let _ = (session, task, limit);
    bail!("not yet")
}
