//! Fuzzing: every target of `fuzz/` for a while, and a table of what came of it.

use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::parts::{run, say, succeeds};

/// Runs the named targets, or all, for `seconds` each. What a run finds interesting is kept in `fuzz/corpus`, an input
/// that fails in `fuzz/artifacts`.
pub fn fuzz(seconds: u64, targets: &[String]) -> Result<()> {
    setup()?;
    let known = cargo_fuzz(&["list"])?;
    let known: Vec<&str> = known.text.lines().collect();
    if let Some(unknown) = targets.iter().find(|target| !known.contains(&target.as_str())) {
        bail!("no target is called {unknown}; targets are {}", known.join(", "));
    }
    say("building the targets (minutes, once)");
    run("rustup", &["run", "nightly", "cargo", "fuzz", "build"])?;
    let mut report = Vec::new();
    for target in known.iter().filter(|known| targets.is_empty() || targets.iter().any(|t| t == *known)) {
        say(&format!("{target}, {seconds} s"));
        report.push(fuzz_one(target, seconds)?);
    }
    println!("\n{:<12} {:>12} {:>13}  result", "target", "executions", "executions/s");
    for Row { target, executions, rate, failure } in &report {
        let result = failure.as_deref().unwrap_or("ok");
        println!("{target:<12} {executions:>12} {rate:>13}  {result}");
    }
    let failed = report.iter().filter(|row| row.failure.is_some()).count();
    if failed > 0 {
        bail!("{failed} target(s) failed; the inputs are in fuzz/artifacts");
    }
    Ok(())
}

/// What came of a target.
struct Row {
    target: String,
    executions: u64,
    rate: u64,
    /// What libFuzzer says went wrong.
    failure: Option<String>,
}

/// What cargo-fuzz printed, and whether it succeeded.
struct Output {
    text: String,
    success: bool,
}

fn setup() -> Result<()> {
    if !succeeds("rustup", &["run", "nightly", "cargo", "--version"]) {
        bail!("fuzzing needs a nightly compiler: rustup toolchain install nightly --profile minimal");
    }
    if !succeeds("cargo", &["fuzz", "--version"]) {
        say("installing cargo-fuzz from crates.io (a few minutes, once)");
        run("cargo", &["install", "--quiet", "--locked", "cargo-fuzz"])?;
    }
    Ok(())
}

fn fuzz_one(target: &str, seconds: u64) -> Result<Row> {
    let (corpus, seeds) = (format!("fuzz/corpus/{target}"), format!("fuzz/seeds/{target}"));
    let time = format!("-max_total_time={seconds}");
    std::fs::create_dir_all(&corpus).with_context(|| format!("{corpus} can't be made"))?;
    let limits = ["-rss_limit_mb=2048", "-timeout=10", "-print_final_stats=1"];
    let arguments = [&["run", target, &corpus, &seeds, "--", &time], &limits[..]].concat();
    let output = cargo_fuzz(&arguments)?;
    if !output.success {
        println!("{}", output.text);
    }
    let after = |label: &str| output.text.lines().find_map(|line| line.trim().strip_prefix(label));
    let number = |label| after(label).and_then(|text| text.trim().parse().ok()).unwrap_or(0);
    let summary = || after("SUMMARY:").unwrap_or("did not run").trim().to_owned();
    Ok(Row {
        target: target.to_owned(),
        executions: number("stat::number_of_executed_units:"),
        rate: number("stat::average_exec_per_sec:"),
        failure: (!output.success).then(summary),
    })
}

fn cargo_fuzz(arguments: &[&str]) -> Result<Output> {
    let output = Command::new("rustup")
        .args(["run", "nightly", "cargo", "fuzz"])
        .args(arguments)
        .output()
        .context("rustup can't be started; is it installed?")?;
    let text =
        [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    Ok(Output { text, success: output.status.success() })
}
