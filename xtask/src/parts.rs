//! What must pass, part by part.

use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};

/// A step of the test run: a name and the command behind it.
struct Part {
    name: &'static str,
    program: &'static str,
    arguments: &'static [&'static str],
}

const fn cargo(name: &'static str, arguments: &'static [&'static str]) -> Part {
    Part { name, program: "cargo", arguments }
}

/// The tests that are left out unless what they need is there.
macro_rules! ignored {
    ($needs:literal) => {
        [
            "test",
            "--release",
            "--workspace",
            "--features=composed",
            "--no-fail-fast",
            "--",
            "--ignored",
            $needs,
        ]
    };
}

/// In order: the quick refusals first, the long runs last.
const PARTS: &[Part] = &[
    cargo("format", &["fmt", "--all", "--check"]),
    cargo(
        "lints",
        &[
            "clippy",
            "--release",
            "--workspace",
            "--all-targets",
            "--features=composed",
            "--",
            "-D",
            "warnings",
        ],
    ),
    cargo("licences", &["deny", "--log-level", "error", "check", "bans", "licenses", "sources"]),
    cargo("build", &["build", "--release", "--workspace", "--features=composed"]),
    cargo(
        "model",
        &["run", "--release", "--features=composed", "--", "model", "pull", "smollm2-135m-instruct-q4_1"],
    ),
    cargo("encoder", &["run", "--release", "--features=composed", "--", "model", "pull", "all-minilm-l6-v2"]),
    // Every arm of a study, made small: the recipes of papers stay runnable.
    cargo(
        "claims",
        &["run", "--release", "--features=composed", "--", "reproduce", "--all", "--quick", "--json"],
    ),
    cargo("tests", &["test", "--release", "--workspace", "--features=composed", "--no-fail-fast"]),
    cargo("model-tests", &ignored!("needs_model")),
    cargo("data-tests", &ignored!("needs_data")),
    cargo("llama-cpp-tests", &ignored!("needs_llama_cpp")),
];

/// Installs what the tests need and this machine lacks, and says so.
pub fn setup() -> Result<()> {
    for component in ["rustfmt", "clippy"] {
        let subcommand = if component == "rustfmt" { "fmt" } else { "clippy" };
        if !succeeds("cargo", &[subcommand, "--version"]) {
            say(&format!("installing {component} with rustup"));
            run("rustup", &["component", "add", component])?;
        }
    }
    if !succeeds("python3", &["-m", "pip", "--version"]) {
        say("installing python3 and pip from Debian: models come inside Python packages");
        run("apt-get", &["update", "-q"])?;
        run("apt-get", &["install", "-q", "-y", "--no-install-recommends", "python3", "python3-pip"])?;
    }
    if !succeeds("cargo", &["deny", "--version"]) {
        say("installing cargo-deny from crates.io (a few minutes, once): it checks licences and bans");
        run("cargo", &["install", "--quiet", "--locked", "cargo-deny"])?;
    }
    Ok(())
}

/// Sets up and runs the parts; all of them even if one fails, so that one run shows everything.
pub fn test(only: Option<&str>) -> Result<()> {
    let started = Instant::now();
    let mut report: Vec<(&str, f64, bool)> = Vec::new();
    let mut timed = |name: &'static str, work: &dyn Fn() -> Result<()>| {
        say(name);
        let begin = Instant::now();
        let outcome = work();
        if let Err(error) = &outcome {
            say(&format!("{name} failed: {error:#}"));
        }
        report.push((name, begin.elapsed().as_secs_f64() / 60.0, outcome.is_ok()));
    };
    timed("setup", &setup);
    let data = std::env::var_os("LYCEUM_DATA").is_some();
    for part in PARTS.iter().filter(|part| only.is_none_or(|only| part.name.contains(only))) {
        if part.name == "data-tests" && !data {
            say("data-tests left out: set LYCEUM_DATA to a folder of data sets to run them");
            continue;
        }
        if part.name == "llama-cpp-tests" && std::env::var_os("LYCEUM_LLAMA_CPP").is_none() {
            say(
                "llama-cpp-tests left out: set LYCEUM_LLAMA_CPP to a Python that has llama-cpp-python[server] and gguf",
            );
            continue;
        }
        timed(part.name, &|| run(part.program, part.arguments));
    }
    println!("\n{:<15} {:>8}", "part", "minutes");
    for (name, minutes, passed) in &report {
        println!("{name:<15} {minutes:>8.1}  {}", if *passed { "ok" } else { "FAILED" });
    }
    println!("{:<15} {:>8.1}", "all", started.elapsed().as_secs_f64() / 60.0);
    let failed = report.iter().filter(|part| !part.2).count();
    println!("\n{} passed, {failed} failed", report.len() - failed);
    if failed > 0 {
        bail!("{failed} part(s) failed");
    }
    Ok(())
}

/// Runs a command to its end, its output passed through.
pub fn run(program: &str, arguments: &[&str]) -> Result<()> {
    let status = Command::new(program)
        .args(arguments)
        .status()
        .with_context(|| format!("{program} can't be started; is it installed?"))?;
    if !status.success() {
        bail!("`{program} {}` ended with {status}", arguments.join(" "));
    }
    Ok(())
}

/// Whether a command can be run and succeeds; its output is dropped.
pub fn succeeds(program: &str, arguments: &[&str]) -> bool {
    Command::new(program).args(arguments).output().is_ok_and(|output| output.status.success())
}

/// Prints what comes next.
pub fn say(message: &str) {
    println!("\n==> {message}");
}
