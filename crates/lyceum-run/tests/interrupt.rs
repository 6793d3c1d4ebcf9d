//! Ctrl-C once finishes the step; twice ends the process at once.
//!
//! The program starts itself as a child that loops as a trainer does, and sends it signals.
#![expect(clippy::unwrap_used, reason = "a test may fail")]

use std::io::{BufRead, BufReader, Lines};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::Duration;

use lyceum_run::Interrupt;

fn main() {
    match std::env::args().nth(1).as_deref() {
        Some("child-polite") => trainer(true),
        Some("child-busy") => trainer(false),
        _ if cfg!(unix) => {
            once();
            twice();
            println!("interrupt: 2 passed");
        }
        _ => println!("SKIPPED: signals are sent the Unix way"),
    }
}

/// Loops in steps; a busy one does not look whether it should stop.
fn trainer(polite: bool) {
    let interrupt = Interrupt::listen().unwrap();
    assert!(!interrupt.requested());
    println!("ready");
    for _ in 0..500 {
        std::thread::sleep(Duration::from_millis(20));
        if polite && interrupt.requested() {
            println!("saved");
            return;
        }
    }
    println!("not interrupted");
}

struct Trainer {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Trainer {
    fn start(kind: &str) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .arg(kind)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert_eq!(lines.next().unwrap().unwrap(), "ready");
        Self { child, lines }
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([name, &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    fn end(mut self) -> (Option<String>, String, ExitStatus) {
        let said = self.lines.next().map(Result::unwrap);
        let output = self.child.wait_with_output().unwrap();
        (said, String::from_utf8(output.stderr).unwrap(), output.status)
    }
}

fn once() {
    for signal in ["-INT", "-TERM"] {
        let trainer = Trainer::start("child-polite");
        trainer.signal(signal);
        let (said, stderr, status) = trainer.end();
        assert_eq!(said.as_deref(), Some("saved"));
        assert_eq!(stderr.trim(), "finishing this step, then saving; Ctrl-C again stops at once");
        assert!(status.success());
    }
}

fn twice() {
    let trainer = Trainer::start("child-busy");
    trainer.signal("-INT");
    // Two signals at once would be one.
    std::thread::sleep(Duration::from_millis(200));
    trainer.signal("-INT");
    let (said, _, status) = trainer.end();
    assert_eq!(said, None);
    assert_eq!(status.code(), Some(130));
}
