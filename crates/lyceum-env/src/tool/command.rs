//! A tool in any language: a program that reads JSON lines and writes JSON lines.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::{Reply, Tool, ToolSpec};
use crate::child::{LineChild, Silence};

/// How long a program that closed its output has to end by itself.
const LAST_BREATH: Duration = Duration::from_secs(2);

/// A user's program. For each line `{"name", "argument"}` on its standard input it writes one line: `{"result": "..."}`, or
/// `{"error": "..."}` for a call that is wrong. It is started once and asked again and again. If it hangs, dies, writes what is
/// no answer or more than was asked, the call fails with the cause and the next one starts it anew.
pub struct CommandTool {
    name: String,
    command: Vec<String>,
    deadline: Duration,
    startup: Duration,
    child: Mutex<Option<LineChild>>,
}

#[derive(Serialize)]
struct Question<'a> {
    name: &'a str,
    argument: &'a str,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Answer {
    result: Option<String>,
    error: Option<String>,
}

impl CommandTool {
    /// The program of a checked specification; nothing is started yet.
    #[must_use]
    pub fn new(spec: &ToolSpec) -> Self {
        let seconds = |given: Option<f64>, usual: u64| {
            given
                .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
                .unwrap_or(Duration::from_secs(usual))
        };
        Self {
            name: spec.name.clone(),
            command: spec.command.clone().unwrap_or_default(),
            deadline: seconds(spec.deadline, 10),
            startup: seconds(spec.startup, 30),
            child: Mutex::new(None),
        }
    }

    /// Asks the child, which is started if there is none; what went wrong as words.
    fn ask(&self, child: &mut Option<LineChild>, argument: &str) -> Result<Reply, (String, Duration)> {
        let fresh = child.is_none();
        let running = match child {
            Some(running) => running,
            None => {
                let started = LineChild::start(&self.command);
                let started =
                    started.map_err(|error| (format!("can't be started: {error}"), Duration::ZERO))?;
                child.insert(started)
            }
        };
        let broke = |what: &str| (what.to_owned(), Duration::ZERO);
        if running.line(Instant::now()).is_ok() {
            return Err(broke("wrote a line that nobody asked for"));
        }
        let mut line = serde_json::to_vec(&Question { name: &self.name, argument })
            .map_err(|error| broke(&error.to_string()))?;
        line.push(b'\n');
        running.send(line);
        let patience = if fresh { self.deadline + self.startup } else { self.deadline };
        let line = running.line(Instant::now() + patience).map_err(|silence| match silence {
            Silence::Deadline => broke(&format!("did not answer within {:.1} s", patience.as_secs_f64())),
            Silence::Closed => ("ended before it had answered".into(), LAST_BREATH),
            Silence::TooLong => broke("wrote a megabyte without a newline"),
        })?;
        let text = String::from_utf8(line).map_err(|_| broke("wrote what is no UTF-8"))?;
        let shown = || text.chars().take(80).collect::<String>();
        match serde_json::from_str::<Answer>(&text) {
            Ok(Answer { result: Some(text), error: None }) => Ok(Reply::Said(text)),
            Ok(Answer { result: None, error: Some(text) }) => Ok(Reply::Refused(text)),
            _ => Err(broke(&format!("answered neither {{\"result\"}} nor {{\"error\"}}: {}", shown()))),
        }
    }
}

impl Tool for CommandTool {
    fn name(&self) -> &str {
        &self.name
    }

    fn description(&self) -> &str {
        "a program of the user's"
    }

    fn asks_outside(&self) -> bool {
        true
    }

    fn answer(&self, argument: &str) -> Reply {
        let mut child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        self.ask(&mut child, argument).unwrap_or_else(|(what, patience)| {
            let story = child.take().map(|child| child.post_mortem(patience));
            let story = story.map_or_else(String::new, |story| format!("; {story}"));
            Reply::Failed(format!("the tool `{}` {what}{story}", self.command.join(" ")))
        })
    }
}
