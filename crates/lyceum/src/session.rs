//! What every command works with: threads, output, downloads.

use std::cell::RefCell;
use std::io::Write;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use lyceum_hub::Event;
use lyceum_kernels::{Level, Pool, Precision};

use crate::arithmetic::Arithmetic;
use crate::cli::{CpuLevel, Global, PrecisionArg};

/// The settings of this invocation.
pub struct Session {
    /// Whether to print JSON for programs.
    pub json: bool,
    threads: Option<usize>,
    level: Option<CpuLevel>,
}

impl Session {
    /// From the command line.
    pub fn new(global: &Global) -> Self {
        Self { json: global.json, threads: global.threads, level: global.cpu_level }
    }

    /// The number of threads asked for, if one was.
    pub const fn threads(&self) -> Option<usize> {
        self.threads
    }

    /// What a process of this program that computes for this session has in its environment.
    pub fn environment(&self) -> Vec<(String, String)> {
        let level = self.level.and_then(|level| clap::ValueEnum::to_possible_value(&level));
        level.map(|level| ("LYCEUM_CPU_LEVEL".into(), level.get_name().to_owned())).into_iter().collect()
    }

    /// The threads to compute with.
    pub fn pool(&self) -> Result<Arc<Pool>> {
        self.pool_like(None)
    }

    /// The threads to compute with: as the command line says, else as `before` where this machine has as much, else
    /// the best of the machine.
    pub fn pool_like(&self, before: Option<Arithmetic>) -> Result<Arc<Pool>> {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
        let threads = before.map_or(cores, |before| before.threads.clamp(1, cores));
        let threads = self.threads.unwrap_or(threads);
        if threads == 0 {
            bail!("--threads must be at least 1");
        }
        let best = Level::detect();
        let level = match self.level {
            None => before.map_or(best, |before| before.level.min(best)),
            Some(asked) => {
                let asked = match asked {
                    CpuLevel::Portable => Level::Portable,
                    CpuLevel::Avx2 => Level::Avx2,
                    CpuLevel::Avx512 => Level::Avx512,
                    CpuLevel::Avx512Bf16 => Level::Avx512Bf16,
                };
                if asked > best {
                    bail!("this processor has no {}; its best level is {}", asked.name(), best.name());
                }
                asked
            }
        };
        Ok(Arc::new(Pool::with_level(threads, level)))
    }

    /// What shows downloads: where a thing comes from, how far it is, and where it went.
    pub fn downloads(&self) -> impl lyceum_hub::Progress + use<> {
        let quiet = self.json;
        let bar = RefCell::new(None::<indicatif::ProgressBar>);
        move |event: Event<'_>| match event {
            _ if quiet => {}
            Event::Begin { what, from, total } => {
                eprintln!("fetching {what} from {from}");
                let style = indicatif::ProgressStyle::with_template("{bytes}/{total_bytes} {bar:30} {eta}");
                let shown =
                    total.map_or_else(indicatif::ProgressBar::new_spinner, indicatif::ProgressBar::new);
                *bar.borrow_mut() = Some(style.map(|style| shown.clone().with_style(style)).unwrap_or(shown));
            }
            Event::Bytes(bytes) => {
                if let Some(bar) = bar.borrow().as_ref() {
                    bar.set_position(bytes);
                }
            }
            Event::Done { path } => {
                if let Some(bar) = bar.borrow_mut().take() {
                    bar.finish_and_clear();
                }
                eprintln!("it is in {}", path.display());
            }
        }
    }

    /// Tells a person something, on stderr; nothing when a program is listening.
    pub fn say(&self, text: &str) {
        if !self.json {
            eprintln!("{text}");
        }
    }

    /// Prints a value as one JSON document on stdout.
    pub fn print_json(&self, value: &impl serde::Serialize) -> Result<()> {
        let text = serde_json::to_string_pretty(value).context("writing JSON")?;
        print_line(format_args!("{text}"));
        Ok(())
    }
}

/// Prints a line on stdout, as `println!` does; a reader who has seen enough (`| head`) ends the program in peace.
#[macro_export]
macro_rules! out {
    () => { $crate::session::print_line(format_args!("")) };
    ($($argument:tt)*) => { $crate::session::print_line(format_args!($($argument)*)) };
}

/// What [`out!`] does.
pub fn print_line(text: std::fmt::Arguments<'_>) {
    if let Err(error) = writeln!(std::io::stdout(), "{text}") {
        if error.kind() != std::io::ErrorKind::BrokenPipe {
            eprintln!("error: writing to stdout: {error}");
            std::process::exit(1);
        }
        std::process::exit(0);
    }
}

impl From<PrecisionArg> for Precision {
    fn from(precision: PrecisionArg) -> Self {
        match precision {
            PrecisionArg::F32 => Self::F32,
            PrecisionArg::Bf16 => Self::Bf16,
        }
    }
}
