//! A run in a terminal.

use std::fmt::Write as _;

use lyceum_trace::{Content, Score, Source, Trace};

use crate::digest::Digest;
use crate::report::number;
use crate::series::{self, Points, binned};
use crate::svg::visible;
use crate::{Layout, Result, RunSummary};

/// The newest evaluations shown of each kind.
const NEWEST: usize = 5;
/// Lines shown of a sample's text.
const LINES: usize = 24;

/// A run folder as text of about `width` columns: alarms, evaluations, curves, sample traces, what went wrong.
///
/// # Errors
/// Those of [`RunSummary::read`].
pub fn view(layout: &Layout, width: usize) -> Result<String> {
    Ok(view_text(&RunSummary::read(layout)?, width))
}

/// [`view`] of what was read. No character of a trace can act on the terminal.
#[must_use]
pub fn view_text(run: &RunSummary, width: usize) -> String {
    let step = run.rows.last().map_or(0, |row| row.step);
    let mut text = format!("{}: {step} steps", run.name);
    if let Some(best) = run.best {
        let _ = write!(text, ", best checkpoint of step {best}");
    }
    text.push('\n');
    for (first, last, alarm) in run.alarm_spans() {
        let when = if first == last { format!("step {first}") } else { format!("steps {first} to {last}") };
        let _ = writeln!(text, "ALARM at {when}: {}", safe(&alarm.to_string()));
    }
    evaluations(&mut text, run);
    curves(&mut text, "training", &series::metrics(&run.rows), width);
    curves(&mut text, "clock", &series::wall(&run.rows), width);
    for (file, digest) in &run.traces {
        samples(&mut text, file, digest, width);
    }
    troubles(&mut text, run);
    let _ = writeln!(text, "\nreport: {}", run.root.join("report.html").display());
    let _ = writeln!(text, "resume: {}", run.resume_command());
    text
}

fn evaluations(text: &mut String, run: &RunSummary) {
    let mut rows = Vec::new();
    for name in run.evaluations() {
        let estimates: Vec<_> =
            run.rows.iter().filter_map(|row| Some((row.step, row.evals.get(name)?))).collect();
        for (step, estimate) in &estimates[estimates.len().saturating_sub(NEWEST)..] {
            rows.push([safe(name), format!("step {step}"), estimate.to_string()]);
        }
    }
    table(text, "evaluations", &rows);
}

fn curves(text: &mut String, title: &str, metrics: &std::collections::BTreeMap<&str, Points>, width: usize) {
    let names = metrics.keys().map(|name| name.chars().count()).max().unwrap_or(0);
    // What is left of the line after the name, two numbers and the space between.
    let room = width.saturating_sub(names + 28).clamp(10, 60);
    let rows: Vec<[String; 4]> = metrics
        .iter()
        .map(|(name, points)| {
            let even = series::even(points);
            let end = |point: Option<&(f64, f64)>| format!("{:>9}", number(point.map_or(f64::NAN, |p| p.1)));
            [safe(name), sparkline(points, room), end(even.first()), format!("→ {}", end(even.last()))]
        })
        .collect();
    table(text, title, &rows);
}

/// A curve in one line of block characters; a blank where a number broke.
fn sparkline(points: &[(f64, f64)], width: usize) -> String {
    const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let bins = binned(points, width);
    let values = || bins.iter().map(|point| point.1).filter(|value| value.is_finite());
    let low = values().fold(f64::INFINITY, f64::min);
    let high = values().fold(f64::NEG_INFINITY, f64::max);
    bins.iter()
        .map(|&(_, value)| {
            let share = if high > low { (value - low) / (high - low) } else { 0.5 };
            if value.is_finite() { BLOCKS[(share * 7.0).round() as usize] } else { ' ' }
        })
        .collect()
}

fn samples(text: &mut String, file: &str, digest: &Digest, width: usize) {
    let _ = writeln!(text, "\n{} traces in traces/{}.jsonl", digest.traces, safe(file));
    for (picks, trace) in digest.shown() {
        sample(text, &picks, trace, width);
    }
}

fn sample(text: &mut String, pick: &str, trace: &Trace, width: usize) {
    let reward = trace.total.map_or_else(|| "none".into(), number);
    let _ = write!(text, "\n── {pick}: {}, reward {reward}", safe(&trace.id));
    for (name, score) in &trace.rewards {
        match score {
            Score::Value(value) => write!(text, ", {} {}", safe(name), number(*value)),
            Score::Failed(cause) => write!(text, ", {} unscored ({})", safe(name), safe(cause)),
        }
        .unwrap_or_default();
    }
    text.push('\n');
    let lines: Vec<String> = spoken(trace)
        .iter()
        .flat_map(|(source, said)| {
            let margin = match source {
                Source::Prompt => "   ",
                Source::Sampled => " ▌ ",
                Source::Tool => " ⌂ ",
                Source::Forced => " ▷ ",
            };
            said.lines().map(move |line| (margin, line))
        })
        .map(|(margin, line)| {
            let shown: String = line.chars().map(visible).take(width.saturating_sub(3).max(20)).collect();
            format!("{margin}{shown}").trim_end().to_owned()
        })
        .collect();
    for line in lines.iter().take(LINES) {
        let _ = writeln!(text, "{line}");
    }
    if lines.len() > LINES {
        let _ = writeln!(text, "   … {} lines more", lines.len() - LINES);
    }
}

/// What was said, neighbours of one source joined.
fn spoken(trace: &Trace) -> Vec<(Source, String)> {
    let mut blocks = Vec::<(Source, String)>::new();
    for part in trace.calls.iter().flat_map(|call| &call.parts) {
        let said = match &part.content {
            Content::Text { text } | Content::ToolResult { text, .. } => text.clone(),
            Content::ToolCall { name, arguments, .. } => format!("{name}({arguments})"),
            Content::Image { size: [width, height], .. } => format!("[image {width} x {height}]"),
        };
        match blocks.last_mut() {
            Some((source, text)) if *source == part.source => *text += &said,
            _ => blocks.push((part.source, said)),
        }
    }
    blocks
}

fn troubles(text: &mut String, run: &RunSummary) {
    let mut rows = Vec::new();
    for (file, digest) in &run.traces {
        for ((boundary, cause), times) in &digest.faults {
            rows.push((
                *times,
                [format!("{times:>6}"), safe(file), format!("{}: {}", boundary.name(), safe(cause))],
            ));
        }
        if digest.cut_off > 0 {
            let what = "cut off at the length limit".to_owned();
            rows.push((digest.cut_off, [format!("{:>6}", digest.cut_off), safe(file), what]));
        }
    }
    rows.sort_by(|a, b| b.cmp(a));
    let rows: Vec<_> = rows.into_iter().take(10).map(|(_, row)| row).collect();
    table(text, "what went wrong", &rows);
}

/// Columns padded to their widest cell, under a title; nothing if there is no row.
fn table<const N: usize>(text: &mut String, title: &str, rows: &[[String; N]]) {
    if rows.is_empty() {
        return;
    }
    let widths: [usize; N] =
        std::array::from_fn(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0));
    let _ = writeln!(text, "\n{title}");
    for row in rows {
        let cells: Vec<String> =
            row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        let _ = writeln!(text, "  {}", cells.join("  ").trim_end());
    }
}

/// One line of text that can't act on the terminal.
fn safe(text: &str) -> String {
    text.chars().map(|c| if c == '\n' || c == '\t' { ' ' } else { visible(c) }).collect()
}
