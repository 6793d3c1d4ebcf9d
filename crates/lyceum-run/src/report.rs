//! `report.html`: a run on one page, in one file, with nothing to fetch and nothing that runs.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use lyceum_trace::{Boundary, Call, Content, Part, Score, Source, Trace};

use crate::digest::Digest;
use crate::series::{self, Points};
use crate::svg::{COLOURS, Chart, escaped};
use crate::{Layout, Result, RunSummary, durable};

/// Most characters shown of one part of a trace.
const PART: usize = 8_000;

/// Writes `report.html` into a run folder; tells where it is.
///
/// # Errors
/// Those of [`RunSummary::read`]; [`Error::Io`](crate::Error::Io).
pub fn write_report(layout: &Layout) -> Result<PathBuf> {
    let page = report(&RunSummary::read(layout)?);
    durable::write_file(&layout.report(), page.as_bytes())?;
    Ok(layout.report())
}

/// The page as text. Nothing of a trace or a recipe reaches it unescaped, and its policy forbids scripts besides.
#[must_use]
pub fn report(run: &RunSummary) -> String {
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" \
         content=\"width=device-width, initial-scale=1\">\n<meta http-equiv=\"Content-Security-Policy\" \
         content=\"default-src 'none'; style-src 'unsafe-inline'\">\n<title>{name}</title>\n<style>\n{css}</style>\n\
         </head>\n<body>\n<h1>{name}</h1>\n",
        name = escaped(&run.name),
        css = include_str!("report/page.css"),
    );
    header(&mut page, run);
    learning(&mut page, run);
    curves(&mut page, "Training", series::metrics(&run.rows), |name| !name.starts_with("reward/"));
    curves(&mut page, "Speed", series::wall(&run.rows), |_| true);
    for (name, digest) in &run.traces {
        samples(&mut page, name, digest);
    }
    troubles(&mut page, run);
    let _ = write!(
        page,
        "<h2>Recipe</h2>\n<details><summary>as resolved, defaults and all</summary>\n<pre class=\"block\">{}</pre>\
         </details>\n<h2>Going on</h2>\n<pre class=\"block\">{}</pre>\n</body>\n</html>\n",
        escaped(&run.recipe),
        escaped(&run.resume_command()),
    );
    page
}

fn header(page: &mut String, run: &RunSummary) {
    let step = run.rows.last().map_or(0, |row| row.step);
    let _ = write!(page, "<p class=\"lead\">{step} steps");
    if let Some(best) = run.best {
        let _ = write!(page, "; the best checkpoint is of step {best}");
    }
    *page += "</p>\n<div class=\"tiles\">\n";
    for name in run.evaluations() {
        let newest = run.rows.iter().rev().find_map(|row| Some((row.step, row.evals.get(name)?)));
        if let Some((step, estimate)) = newest {
            let unscored = match estimate.unscored {
                0 => String::new(),
                count => format!(", {count} unscored"),
            };
            let _ = writeln!(
                page,
                "<div class=\"tile\"><b>{}</b><span>{} at step {step}<br>95 % interval {} to {}, n = \
                 {}{unscored}</span></div>",
                number(estimate.mean),
                escaped(name),
                number(estimate.low),
                number(estimate.high),
                estimate.n,
            );
        }
    }
    *page += "</div>\n";
    for (first, last, alarm) in run.alarm_spans() {
        let when = if first == last { format!("step {first}") } else { format!("steps {first} to {last}") };
        let _ =
            writeln!(page, "<p class=\"alarm\"><b>Alarm at {when}.</b> {}</p>", escaped(&alarm.to_string()));
    }
}

/// Evaluations and the components of the reward side by side: they are to be compared.
fn learning(page: &mut String, run: &RunSummary) {
    let mut figures = String::new();
    for name in run.evaluations() {
        let estimates: Vec<_> =
            run.rows.iter().filter_map(|row| Some((row.step as f64, row.evals.get(name)?))).collect();
        let marks = run
            .alarms()
            .filter(|(_, alarm)| alarm.held_out == name)
            .map(|(step, alarm)| (step as f64, format!("step {step}: {alarm}")));
        let chart = Chart { estimates: vec![estimates], marks: marks.collect(), ..Chart::default() };
        figure(&mut figures, &[name], &chart);
    }
    let components: Vec<(&str, Points)> =
        series::metrics(&run.rows).into_iter().filter(|(name, _)| name.starts_with("reward/")).collect();
    // Components share a scale and a chart, unless they are too many to tell apart.
    if components.len() <= COLOURS {
        let (names, lines): (Vec<&str>, Vec<Points>) = components.into_iter().unzip();
        figure(&mut figures, &names, &Chart { lines, ..Chart::default() });
    } else {
        components.into_iter().for_each(|(name, points)| line_figure(&mut figures, name, points));
    }
    let note = "Points: evaluations with 95 % intervals. Thin lines: every step; bold: the mean of its neighbours on \
                both sides, the weight halved every fortieth of the run.";
    section(page, "Evaluation and reward", note, &figures);
}

/// One small chart a metric.
fn curves(page: &mut String, title: &str, metrics: BTreeMap<&str, Points>, wanted: impl Fn(&str) -> bool) {
    let mut figures = String::new();
    for (name, points) in metrics.into_iter().filter(|(name, _)| wanted(name)) {
        line_figure(&mut figures, name, points);
    }
    section(page, title, "", &figures);
}

fn line_figure(figures: &mut String, name: &str, points: Points) {
    figure(figures, &[name], &Chart { lines: vec![points], ..Chart::default() });
}

/// A chart under the names of its lines and their newest values; nothing if there is no number to draw.
fn figure(figures: &mut String, names: &[&str], chart: &Chart<'_>) {
    let Some(svg) = chart.draw() else { return };
    *figures += "<figure><figcaption>";
    for (index, (name, value)) in names.iter().zip(chart.newest()).enumerate() {
        let key = if names.len() > 1 { format!("key c{}", index % COLOURS) } else { "name".into() };
        let _ = write!(
            figures,
            "<span class=\"{key}\">{} <span class=\"value\">{}</span></span>",
            escaped(name),
            number(value)
        );
    }
    let _ = writeln!(figures, "</figcaption>{svg}</figure>");
}

fn section(page: &mut String, title: &str, note: &str, figures: &str) {
    if figures.is_empty() {
        return;
    }
    let _ = writeln!(page, "<h2>{title}</h2>");
    if !note.is_empty() {
        let _ = writeln!(page, "<p class=\"legend\">{note}</p>");
    }
    let _ = writeln!(page, "<div class=\"charts\">\n{figures}</div>");
}

fn samples(page: &mut String, file: &str, digest: &Digest) {
    if digest.samples.is_empty() {
        return;
    }
    let _ = writeln!(
        page,
        "<h2>Sample traces: {file}</h2>\n<p class=\"legend\">{count} in traces/{file}.jsonl. <span \
         class=\"prompt\">Prompt</span>, what the model wrote, <span class=\"tool\">what tools said</span>, <span \
         class=\"forced\">what was put in its mouth</span>.</p>",
        file = escaped(file),
        count = digest.traces,
    );
    for (picks, trace) in digest.shown() {
        sample(page, &picks, trace);
    }
}

fn sample(page: &mut String, pick: &str, trace: &Trace) {
    let reward = trace.total.map_or_else(|| "no reward".into(), |total| format!("reward {}", number(total)));
    let step = trace.step.map_or_else(String::new, |step| format!("step {step}, "));
    let _ = write!(
        page,
        "<details class=\"trace\" open><summary><b>{pick}</b> <span class=\"number\">{step}{reward}</span></summary>\n\
         <div class=\"about\">{} · problem {}",
        escaped(&trace.id),
        escaped(&trace.problem.id),
    );
    if let Some(answer) = &trace.problem.answer {
        let _ = write!(page, " · answer {}", escaped(&shortened(answer, 200)));
    }
    for (name, score) in &trace.rewards {
        let said = match score {
            Score::Value(value) => number(*value),
            Score::Failed(cause) => format!("unscored: {cause}"),
        };
        let _ = write!(page, " · {} {}", escaped(name), escaped(&said));
    }
    for fault in &trace.faults {
        let _ = write!(page, " · {}: {}", fault.boundary.name(), escaped(&fault.cause));
    }
    *page += "</div>\n";
    for call in &trace.calls {
        call_text(page, call, trace.calls.len() > 1);
    }
    *page += "</details>\n";
}

fn call_text(page: &mut String, call: &Call, named: bool) {
    if named {
        let _ = write!(page, "<div class=\"about\">{} · {}</div>", escaped(&call.role), escaped(&call.model));
    }
    *page += "<pre>";
    for Part { source, content } in &call.parts {
        let class = match source {
            Source::Prompt => "prompt",
            Source::Sampled => "sampled",
            Source::Tool => "tool",
            Source::Forced => "forced",
        };
        let text = match content {
            Content::Text { text } => shortened(text, PART),
            Content::ToolCall { name, arguments, .. } => {
                format!("{name}({})", shortened(&arguments.to_string(), PART))
            }
            Content::ToolResult { text, .. } => shortened(text, PART),
            Content::Image { sha256, size: [width, height] } => {
                format!("[image {width} x {height}, {sha256}]")
            }
        };
        let _ = write!(page, "<span class=\"{class}\">{}</span>", escaped(&text));
    }
    *page += "</pre>\n";
}

/// What went wrong, counted by cause, and components that could not be scored.
fn troubles(page: &mut String, run: &RunSummary) {
    const MOST: usize = 20;
    let mut rows = Vec::<(usize, String)>::new();
    for (file, digest) in &run.traces {
        let mut count = |what: String, count: usize| {
            if count > 0 {
                rows.push((count, format!("<td>{}</td><td>{what}</td>", escaped(file))));
            }
        };
        for ((boundary, cause), &times) in &digest.faults {
            count(format!("{}: {}", Boundary::name(*boundary), escaped(&shortened(cause, 200))), times);
        }
        for (name, tally) in &digest.components {
            count(format!("component {} gave no score", escaped(name)), tally.failed);
        }
        count("cut off at the length limit".into(), digest.cut_off);
        count("lines that are no trace".into(), digest.unreadable);
    }
    let broken = run.rows.iter().flat_map(|row| &row.metrics).filter(|(_, value)| !value.is_finite()).count();
    if broken > 0 {
        rows.push((broken, "<td>metrics</td><td>numbers that are not finite</td>".into()));
    }
    rows.sort_by(|a, b| b.cmp(a));
    *page += "<h2>What went wrong</h2>\n";
    if rows.is_empty() {
        *page += "<p class=\"legend\">Nothing on record.</p>\n";
        return;
    }
    *page += "<table><tr><th class=\"number\">times</th><th>where</th><th>what</th></tr>\n";
    for (times, what) in rows.iter().take(MOST) {
        let _ = writeln!(page, "<tr><td class=\"number\">{times}</td>{what}</tr>");
    }
    *page += "</table>\n";
    if rows.len() > MOST {
        let _ = writeln!(page, "<p class=\"legend\">and {} other causes</p>", rows.len() - MOST);
    }
}

/// At most so many characters, with a word on what was left out.
fn shortened(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{} … ({} characters more)", &text[..end], text[end..].chars().count()),
        None => text.to_owned(),
    }
}

/// Three significant digits, or so.
#[must_use]
pub fn number(value: f64) -> String {
    match value.abs() {
        _ if !value.is_finite() => "–".into(),
        0.0 => "0".into(),
        size if !(1e-3..1e5).contains(&size) => format!("{value:.2e}"),
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.3}"),
    }
}
