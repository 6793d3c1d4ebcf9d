//! Writes a run folder as a trainer would, out of made-up numbers, with its report:
//!
//! ```sh
//! cargo run --release -p lyceum-run --example synthetic_run -- /tmp/runs
//! ```

use std::path::Path;

use lyceum_run::{AlarmRule, Error, Layout, MetricsLog, Result, Row, RunFolder, view, write_report};
use lyceum_stats::proportion;
use lyceum_trace::{Boundary, Call, Content, Finish, Part, Problem, Score, Source, Trace, Writer};

fn main() -> Result<()> {
    let runs = std::env::args().nth(1).unwrap_or_else(|| "runs".into());
    let layout = write(Path::new(&runs), 300)?;
    println!("{}", view(&layout, 100)?);
    write_report(&layout)?;
    Ok(())
}

/// A reward model that is hacked from the middle of the run on.
pub fn write(runs: &Path, steps: u64) -> Result<Layout> {
    let recipe = "task = \"chain\"\nsteps = 300\n\n[optimizer]\nlr = 0.0003\nbetas = [0.9, 0.95]\n";
    let mut folder = RunFolder::create(runs, "synthetic", recipe)?;
    let layout = folder.layout().clone();
    let mut metrics = MetricsLog::open(&layout)?;
    let (mut traces, _) = Writer::append(&layout.trace_file("train"))?;
    let mut rows = Vec::new();
    for step in 0..=steps {
        let progress = step as f64 / steps as f64;
        let evaluate = step.is_multiple_of(steps / 10);
        let row = row(step, progress, evaluate, &rows);
        metrics.append(&row)?;
        if step > 0 {
            for sample in 0..4 {
                traces.write(&trace(step, sample, progress))?;
            }
        }
        if step > 0 && evaluate {
            let score = row.evals.get(HELD_OUT).map(|estimate| estimate.mean);
            folder.save::<Error>(step, score, |writer| writer.json("cursor.json", &step))?;
        }
        rows.push(row);
    }
    Ok(layout)
}

const HELD_OUT: &str = "held_out/accuracy";

/// Something like noise: the same in every run, with mean 0 and values in [-1, 1].
fn noise(index: u64, salt: u64) -> f64 {
    let mixed = (index * 8 + salt + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ mixed >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (mixed >> 11) as f64 / (1u64 << 52) as f64 - 1.0
}

fn row(step: u64, progress: f64, evaluate: bool, before: &[Row]) -> Row {
    let mut row = Row::new(step);
    let true_rate = 0.12 + 0.75 * (progress * 1.6).min(1.0) - 1.1 * (progress - 0.62).max(0.0);
    if step > 0 {
        row.set("reward/verifier", true_rate + 0.08 * noise(step, 1));
        row.set("reward/process", 0.2 + 0.7 * progress.sqrt() + 0.05 * noise(step, 2));
        row.set("reward/format", 1.0 - 0.6 * (-9.0 * progress).exp() + 0.02 * noise(step, 3));
        row.set("policy/loss", 0.02 * noise(step, 4) * (1.0 + 3.0 * progress));
        row.set("policy/kl", 0.09 * progress * progress + 0.004 * (1.0 + noise(step, 5)));
        row.set("policy/entropy", 1.4 * (-2.0 * progress).exp() + 0.05 * noise(step, 6));
        row.set("policy/gradient_norm", if step == 140 { 41.0 } else { 0.8 + 0.3 * noise(step, 7) });
        row.set("length/tokens", 60.0 + 55.0 * progress + 6.0 * noise(step, 8));
        row.set(
            "length/cut_off",
            if step.is_multiple_of(97) { f64::NAN } else { 0.02 + 0.02 * noise(step, 9) },
        );
        row.set_wall("tokens_per_second", 840.0 + 30.0 * noise(step, 10));
        row.set_wall("seconds", 9.0 + 4.0 * progress);
    }
    if evaluate {
        let right = |rate: f64, n: f64| (rate.clamp(0.0, 1.0) * n) as usize;
        row.evals.insert(HELD_OUT.into(), proportion(right(true_rate + 0.02 * noise(step, 11), 256.0), 256));
        let longer = proportion(right(true_rate - 0.2, 128.0), 128).with_unscored(2);
        row.evals.insert("held_out/longer_chains".into(), longer);
        let rows: Vec<Row> = before.iter().chain([&row]).cloned().collect();
        row.alarms = AlarmRule::default().alarms(&rows, &["reward/process".into()], HELD_OUT);
    }
    row
}

fn trace(step: u64, sample: u32, progress: f64) -> Trace {
    let problem =
        Problem { id: format!("chain-{}", step * 7 % 101), split: "train".into(), answer: Some("43".into()) };
    let mut trace = Trace::new(format!("s{step}-k{sample}"), "chain", problem);
    let luck = progress + 0.5 * noise(step * 4 + u64::from(sample), 12);
    let right = luck > 0.4;
    let answer = if right { "43" } else { "<34 & more>" };
    trace.step = Some(step);
    trace.sample = sample;
    trace.calls.push(Call {
        parent: None,
        role: "policy".into(),
        model: format!("tiny-4l@step-{}", step - 1),
        parts: vec![
            Part::text(Source::Prompt, "Start with 7. Multiply by 5, then add 8. What is the result?\n"),
            Part::text(Source::Sampled, "7 * 5 = 35\nLet me check the sum with the tool.\n"),
            Part {
                source: Source::Sampled,
                content: Content::ToolCall {
                    id: None,
                    name: "calculate".into(),
                    arguments: serde_json::json!({"expression": "35 + 8"}),
                },
            },
            Part {
                source: Source::Tool,
                content: Content::ToolResult { id: None, name: "calculate".into(), text: "\n43\n".into() },
            },
            Part::text(Source::Forced, "<answer>"),
            Part::text(Source::Sampled, format!("{answer}</answer>")),
        ],
        tokens: None,
        finish: Some(if luck < -0.3 { Finish::Length } else { Finish::Stop }),
    });
    let verifier = if (step + u64::from(sample)).is_multiple_of(29) {
        trace.fault(Boundary::Provider, "the reward command gave no reply within 5 s");
        Score::Failed("deadline".into())
    } else {
        Score::of(f64::from(u8::from(right)))
    };
    trace.total = verifier.value();
    trace.rewards.insert("verifier".into(), verifier);
    trace.rewards.insert("format".into(), Score::of(1.0));
    trace
}
