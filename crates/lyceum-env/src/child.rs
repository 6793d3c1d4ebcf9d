//! A child process that talks in lines, held at arm's length: bounded buffers, deadlines, no process left behind.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Longest line that is taken in, in bytes.
const LONGEST_LINE: usize = 1 << 20;
/// Lines that may wait unread; the child's pipe fills up behind them.
const WAITING_LINES: usize = 256;
/// How much of the end of the child's error output is kept, in bytes.
const KEPT_ERRORS: usize = 4_096;

/// What came instead of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Silence {
    /// Nothing before the deadline.
    Deadline,
    /// The child ended or closed its output.
    Closed,
    /// A line without an end.
    TooLong,
}

/// A running child, the head of its own process group. Dropping it kills the whole group.
pub(crate) struct LineChild {
    child: Child,
    input: Sender<Vec<u8>>,
    lines: Receiver<Result<Vec<u8>, Silence>>,
    errors: Arc<Mutex<Vec<u8>>>,
    errors_reader: Option<JoinHandle<()>>,
}

impl LineChild {
    /// Starts `command`, program first.
    pub(crate) fn start(command: &[String]) -> std::io::Result<Self> {
        let (program, arguments) =
            command.split_first().ok_or_else(|| std::io::Error::other("the command is empty"))?;
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // Python holds back what it prints to a pipe; an answer that is not sent is a deadline missed.
            .env("PYTHONUNBUFFERED", "1")
            .process_group(0)
            .spawn()?;
        let pipes = child.stdin.take().zip(child.stdout.take()).zip(child.stderr.take());
        let Some(((mut stdin, stdout), stderr)) = pipes else {
            return Err(std::io::Error::other("the pipes to the command are missing"));
        };
        let (input, requests) = channel::<Vec<u8>>();
        // A thread of its own writes, so that a child that doesn't read can't hold us up.
        std::thread::spawn(move || {
            for request in requests {
                if stdin.write_all(&request).and_then(|()| stdin.flush()).is_err() {
                    break;
                }
            }
        });
        let (sender, lines) = sync_channel(WAITING_LINES);
        std::thread::spawn(move || {
            let mut output = BufReader::new(stdout);
            loop {
                let line = read_line(&mut output);
                let last = line.is_err();
                if sender.send(line).is_err() || last {
                    break;
                }
            }
        });
        let errors = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&errors);
        let errors_reader = std::thread::spawn(move || keep_end(stderr, &kept));
        Ok(Self { child, input, lines, errors, errors_reader: Some(errors_reader) })
    }

    /// Sends bytes; never blocks. That the child is gone shows when its answer is read.
    pub(crate) fn send(&self, bytes: Vec<u8>) {
        let _ = self.input.send(bytes);
    }

    /// The next line, without its newline.
    pub(crate) fn line(&self, deadline: Instant) -> Result<Vec<u8>, Silence> {
        match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(line) => line,
            Err(RecvTimeoutError::Timeout) => Err(Silence::Deadline),
            Err(RecvTimeoutError::Disconnected) => Err(Silence::Closed),
        }
    }

    /// Kills the group and says how the child ended and what it last wrote to its error output. A child that is
    /// ending gets `patience` to do so by itself: its output closes a little before it has a status.
    pub(crate) fn post_mortem(mut self, patience: Duration) -> String {
        let patience = Instant::now() + patience;
        let ended = loop {
            match self.child.try_wait() {
                Ok(Some(status)) => break format!("it ended with {status}"),
                Ok(None) if Instant::now() < patience => std::thread::sleep(Duration::from_millis(5)),
                _ => break "it was stopped".to_owned(),
            }
        };
        self.kill();
        // With the group dead the pipe is closed and the reader done, unless a process left the group.
        if let Some(reader) = self.errors_reader.take() {
            let patience = Instant::now() + Duration::from_millis(200);
            while !reader.is_finished() && Instant::now() < patience {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        let errors = self.errors.lock().unwrap_or_else(PoisonError::into_inner);
        let errors = String::from_utf8_lossy(&errors);
        match errors.trim() {
            "" => ended,
            errors => format!("{ended}; its error output ends with:\n{errors}"),
        }
    }

    fn kill(&mut self) {
        let group = i32::try_from(self.child.id()).ok().and_then(rustix::process::Pid::from_raw);
        if let Some(group) = group {
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        }
        let _ = self.child.wait();
    }
}

impl Drop for LineChild {
    fn drop(&mut self) {
        self.kill();
    }
}

fn read_line(output: &mut impl BufRead) -> Result<Vec<u8>, Silence> {
    let mut line = Vec::new();
    let limit = u64::try_from(LONGEST_LINE).unwrap_or(u64::MAX) + 1;
    match output.take(limit).read_until(b'\n', &mut line) {
        Ok(_) if line.last() == Some(&b'\n') => {
            line.pop();
            Ok(line)
        }
        Ok(_) if line.len() > LONGEST_LINE => Err(Silence::TooLong),
        // The end of the output, or of the child in the middle of a line.
        _ => Err(Silence::Closed),
    }
}

fn keep_end(mut source: impl Read, kept: &Mutex<Vec<u8>>) {
    let mut piece = [0u8; 4_096];
    while let Ok(length @ 1..) = source.read(&mut piece) {
        let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.extend_from_slice(&piece[..length]);
        let excess = kept.len().saturating_sub(KEPT_ERRORS);
        kept.drain(..excess);
    }
}
