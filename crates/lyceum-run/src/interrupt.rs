use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::{Error, Result};

/// Exit code after a second Ctrl-C: 128 + SIGINT, as shells have it.
const AT_ONCE: i32 = 130;

/// Whether the user wants to stop. The first Ctrl-C (or SIGTERM) asks the loop to finish its step and save; the
/// second ends the process at once, which costs the work since the last checkpoint and nothing else.
#[derive(Clone, Debug, Default)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Begins to listen, once in a process.
    ///
    /// # Errors
    /// [`Error::Signal`] if signals can't be listened to, or something listens already.
    pub fn listen() -> Result<Self> {
        let interrupt = Self::default();
        let asked = Arc::clone(&interrupt.0);
        ctrlc::set_handler(move || {
            if asked.swap(true, Ordering::SeqCst) {
                std::process::exit(AT_ONCE);
            }
            eprintln!("\nfinishing this step, then saving; Ctrl-C again stops at once");
        })
        .map_err(|error| Error::Signal(error.to_string()))?;
        Ok(interrupt)
    }

    /// Whether to finish the step and save.
    pub fn requested(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }

    /// Asks as Ctrl-C does.
    pub fn request(&self) {
        self.0.store(true, Ordering::SeqCst);
    }
}
