//! `lyceum view`.

use anyhow::Result;
use lyceum_run::Layout;

use crate::cli::ViewArgs;
use crate::session::Session;

/// Shows a run in the terminal and writes its report anew.
pub fn run(session: &Session, arguments: &ViewArgs) -> Result<()> {
    let layout = Layout::existing(&arguments.run)?;
    let report = lyceum_run::write_report(&layout)?;
    if session.json {
        let rows = lyceum_run::read_rows(&layout.metrics())?;
        return session
            .print_json(&serde_json::json!({"run": layout.root(), "report": report, "metrics": rows}));
    }
    print!("{}", lyceum_run::view(&layout, width())?);
    Ok(())
}

/// Columns of the terminal, or a usual number of them.
fn width() -> usize {
    std::env::var("COLUMNS").ok().and_then(|text| text.parse().ok()).unwrap_or(100)
}
