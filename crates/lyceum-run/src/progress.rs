use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A progress bar on stderr; nothing at all where stderr is no terminal or a program is listening (`--json`).
#[derive(Clone, Debug)]
pub struct Progress(ProgressBar);

impl Progress {
    /// A bar of `total` steps beginning at `done`.
    #[must_use]
    pub fn new(what: &str, total: u64, done: u64, quiet: bool) -> Self {
        let target = if quiet || !std::io::stderr().is_terminal() {
            ProgressDrawTarget::hidden()
        } else {
            ProgressDrawTarget::stderr()
        };
        let style =
            ProgressStyle::with_template("{prefix} {bar:28} {pos}/{len}  {elapsed}, {eta} left  {msg}")
                .unwrap_or_else(|_| ProgressStyle::default_bar())
                .progress_chars("━╸─");
        let bar = ProgressBar::with_draw_target(Some(total), target).with_style(style).with_position(done);
        bar.set_prefix(what.to_owned());
        bar.reset_eta();
        Self(bar)
    }

    /// One step on, with a few words on how it went.
    pub fn step(&self, message: impl Into<String>) {
        self.0.set_message(message.into());
        self.0.inc(1);
    }

    /// Prints a line above the bar; nothing where there is no bar.
    pub fn line(&self, text: &str) {
        self.0.println(text);
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        self.0.finish_and_clear();
    }
}
