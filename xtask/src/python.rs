//! Comparisons with the Python world: golden files and live parity, in an environment of their own.

use anyhow::Result;

use crate::parts::run;

/// The Python of the parity environment.
fn python() -> String {
    let venv = std::env::var("LYCEUM_VENV").unwrap_or_else(|_| ".venv".into());
    format!("{venv}/bin/python")
}

/// Makes golden files anew; all parts when none is named.
pub fn golden(parts: &[String]) -> Result<()> {
    run("bash", &["parity/setup.sh"])?;
    let mut arguments = vec!["parity/make_golden.py"];
    arguments.extend(parts.iter().map(String::as_str));
    run(&python(), &arguments)
}

/// Exports a model and compares it in transformers and peft.
pub fn parity() -> Result<()> {
    run("bash", &["parity/setup.sh"])?;
    run(&python(), &["parity/live.py"])?;
    run(&python(), &["parity/live_encoder.py"])
}
