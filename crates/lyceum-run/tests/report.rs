//! What a run looks like to its reader: the terminal view word for word, the report by its promises.
#![expect(clippy::unwrap_used, reason = "a test's helpers may fail the test")]

#[path = "../examples/synthetic_run.rs"]
#[expect(dead_code, reason = "its main")]
mod synthetic_run;

use lyceum_run::{Layout, RunFolder, RunSummary, report, view, view_text, write_report};
use lyceum_trace::{Call, Part, Problem, Source, Trace, Writer};

#[test]
fn the_view_of_a_run() {
    let runs = tempfile::tempdir().unwrap();
    let layout = synthetic_run::write(runs.path(), 60).unwrap();
    let shown = view(&layout, 90).unwrap().replace(runs.path().to_str().unwrap(), "runs");
    insta::assert_snapshot!(shown);
}

#[test]
fn the_view_of_a_run_that_has_not_begun() {
    let runs = tempfile::tempdir().unwrap();
    let layout = RunFolder::create(runs.path(), "empty", "").unwrap().layout().clone();
    let shown = view(&layout, 90).unwrap().replace(runs.path().to_str().unwrap(), "runs");
    insta::assert_snapshot!(shown, @r"
    empty-001: 0 steps

    report: runs/empty-001/report.html
    resume: lyceum train --resume runs/empty-001
    ");
}

/// A page's promises: one file, nothing fetched, nothing run, every part there.
#[test]
fn the_report_stands_alone_and_is_whole() {
    let runs = tempfile::tempdir().unwrap();
    let layout = synthetic_run::write(runs.path(), 60).unwrap();
    let path = write_report(&layout).unwrap();
    assert_eq!(path, layout.report());
    let page = std::fs::read_to_string(path).unwrap();
    for absent in ["<script", "http://", "https://", "src=", "href=", "url(", "NaN"] {
        assert!(!page.contains(absent), "{absent}");
    }
    for present in [
        "<h1>synthetic-001</h1>",
        "Alarm at step",
        "held_out/accuracy",
        "95 % interval",
        "2 unscored",
        "reward/process",
        "policy/kl",
        "tokens_per_second",
        "Sample traces: train",
        "&lt;34 &amp; more&gt;",
        "the reward command gave no reply within 5 s",
        "component verifier gave no score",
        "lr = 0.0003",
        "lyceum train --resume",
    ] {
        assert!(page.contains(present), "{present}");
    }
    // One chart an evaluation, a metric and a clock reading; one for all three reward components.
    let rows = lyceum_run::read_rows(&layout.metrics()).unwrap();
    let row = &rows[30];
    let charts = 2 + row.metrics.len() - 2 + row.wall.len();
    assert_eq!(page.matches("<svg").count(), charts);
    for element in ["svg", "figure", "details", "table", "div", "pre", "span", "title"] {
        let opened =
            page.matches(&format!("<{element}>")).count() + page.matches(&format!("<{element} ")).count();
        assert_eq!(opened, page.matches(&format!("</{element}>")).count(), "{element}");
    }
}

fn hostile(text: &str) -> (tempfile::TempDir, Layout) {
    let runs = tempfile::tempdir().unwrap();
    let layout = RunFolder::create(runs.path(), "x", text).unwrap().layout().clone();
    let mut trace =
        Trace::new(text, text, Problem { id: text.into(), split: text.into(), answer: Some(text.into()) });
    trace.calls.push(Call {
        parent: None,
        role: text.into(),
        model: text.into(),
        parts: vec![Part::text(Source::Sampled, text), Part::text(Source::Tool, text)],
        tokens: None,
        finish: None,
    });
    trace.calls.push(trace.calls[0].clone());
    trace.rewards.insert(text.into(), lyceum_trace::Score::Failed(text.into()));
    trace.fault(lyceum_trace::Boundary::Tool, text);
    let (mut writer, _) = Writer::append(&layout.trace_file("train")).unwrap();
    writer.write(&trace).unwrap();
    (runs, layout)
}

#[test]
fn foreign_text_stays_text() {
    let (_runs, layout) =
        hostile("</pre><script>alert('x')</script>\u{1b}]0;owned\u{7}\u{202e}<img src=x onerror=y>");
    let run = RunSummary::read(&layout).unwrap();
    let page = report(&run);
    assert!(!page.contains("<script") && !page.contains("<img") && !page.contains('\u{1b}'));
    let shown = view_text(&run, 80);
    assert!(shown.chars().all(|c| c == '\n' || !c.is_control()), "{shown:?}");
    assert!(!shown.contains('\u{202e}'));
}

#[test]
fn very_long_text_is_cut_with_a_word() {
    let (_runs, layout) = hostile(&"long line\n".repeat(5_000));
    let run = RunSummary::read(&layout).unwrap();
    assert!(report(&run).contains("characters more)"));
    assert!(view_text(&run, 80).contains("lines more"));
}

#[test]
fn a_folder_that_is_no_run_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let error = view(&Layout::new(folder.path()), 80).unwrap_err().to_string();
    assert!(error.ends_with("is no run folder: there is no recipe.toml in it"), "{error}");
}
