//! Any consistent trace survives a file; any bytes survive the parser.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::needless_pass_by_value,
    reason = "a test fails by panicking"
)]

use std::path::Path;

use lyceum_trace::{
    Boundary, Call, Content, Cost, Error, Fault, Finish, Part, Problem, Reader, Repair, Runs, Sampling,
    Score, Source, TokenRecord, Trace, Wall, Writer, parse_line,
};
use proptest::collection::{btree_map, vec};
use proptest::option::of;
use proptest::prelude::*;

fn finite() -> impl Strategy<Value = f64> {
    any::<f64>().prop_filter("finite", |value| value.is_finite())
}

fn finite_f32() -> impl Strategy<Value = f32> {
    any::<f32>().prop_filter("finite", |value| value.is_finite())
}

/// Any text at all, control characters and line separators included.
fn text() -> impl Strategy<Value = String> {
    vec(any::<char>(), 0..12).prop_map(|chars| chars.into_iter().collect())
}

fn source() -> impl Strategy<Value = Source> {
    prop_oneof![Just(Source::Prompt), Just(Source::Sampled), Just(Source::Tool), Just(Source::Forced)]
}

fn tokens() -> impl Strategy<Value = TokenRecord> {
    let sampling = (0f32..2.0, of(1u32..100), of(0f32..1.0), of(0f32..1.0), of(1f32..2.0)).prop_map(
        |(temperature, top_k, top_p, min_p, repetition_penalty)| Sampling {
            temperature,
            top_k,
            top_p,
            min_p,
            repetition_penalty,
        },
    );
    let token = (any::<u32>(), source(), finite_f32(), finite_f32(), any::<bool>(), any::<bool>());
    (vec(token, 0..20), of(sampling)).prop_map(|(tokens, sampling)| {
        let mut record = TokenRecord { sampling, ..TokenRecord::default() };
        for (id, source, weight, logp, step, turn) in tokens {
            record.ids.push(id);
            record.source.push(source, 1);
            record.weight.push(weight, 1);
            if source == Source::Sampled {
                record.logp.push(logp);
            }
            if step {
                record.end_step();
            }
            if turn {
                record.end_turn();
            }
        }
        record
    })
}

fn content() -> impl Strategy<Value = Content> {
    let arguments = prop_oneof![
        text().prop_map(serde_json::Value::from),
        btree_map(text(), finite(), 0..3).prop_map(|map| serde_json::json!(map)),
    ];
    prop_oneof![
        text().prop_map(|text| Content::Text { text }),
        (of(text()), text(), arguments).prop_map(|(id, name, arguments)| Content::ToolCall {
            id,
            name,
            arguments
        }),
        (of(text()), text(), text()).prop_map(|(id, name, text)| Content::ToolResult { id, name, text }),
        (text(), any::<[u32; 2]>()).prop_map(|(sha256, size)| Content::Image { sha256, size }),
    ]
}

fn call() -> impl Strategy<Value = Call> {
    let part = (source(), content()).prop_map(|(source, content)| Part { source, content });
    let finish =
        prop_oneof![Just(Finish::Stop), Just(Finish::Length), Just(Finish::ToolCall), Just(Finish::Fault)];
    (any::<prop::sample::Index>(), text(), text(), vec(part, 0..4), of(tokens()), of(finish)).prop_map(
        |(parent, role, model, parts, tokens, finish)| Call {
            // Made to stand before its child by `trace`.
            parent: Some(parent.index(usize::MAX)),
            role,
            model,
            parts,
            tokens,
            finish,
        },
    )
}

fn trace() -> impl Strategy<Value = Trace> {
    let problem = (text(), text(), of(text())).prop_map(|(id, split, answer)| Problem { id, split, answer });
    let score = prop_oneof![finite().prop_map(Score::of), text().prop_map(Score::Failed)];
    let fault = (prop::sample::select(&Boundary::ALL), text());
    let cost = any::<[u64; 3]>().prop_map(|[prompt_tokens, generated_tokens, tool_calls]| Cost {
        prompt_tokens,
        generated_tokens,
        tool_calls,
    });
    let wall = (of(finite()), of(finite())).prop_map(|(started, seconds)| Wall { started, seconds });
    let head = (text(), text(), problem, of(any::<u64>()), any::<u32>());
    let tail =
        (btree_map(text(), score, 0..4), of(finite()), cost, vec(fault, 0..3), wall, vec(finite(), 0..3));
    (head, vec(call(), 0..4), tail).prop_map(|((id, task, problem, step, sample), mut calls, tail)| {
        let (rewards, total, cost, faults, wall, process) = tail;
        for (index, call) in calls.iter_mut().enumerate() {
            call.parent = call.parent.map(|parent| parent % (index + 1)).filter(|&parent| parent < index);
        }
        let faults = faults
            .into_iter()
            .map(|(boundary, cause)| Fault { boundary, cause, call: calls.len().checked_sub(1) })
            .collect();
        Trace {
            step,
            sample,
            calls,
            rewards,
            total,
            process,
            cost,
            faults,
            wall,
            ..Trace::new(id, task, problem)
        }
    })
}

proptest! {
    #[test]
    fn traces_survive_a_file(traces in vec(trace(), 0..4)) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("traces.jsonl");
        let (mut writer, repair) = Writer::append(&path).unwrap();
        prop_assert_eq!(repair, Repair::None);
        for trace in &traces {
            writer.write(trace).unwrap();
        }
        let read: Vec<Trace> = Reader::open(&path).unwrap().map(Result::unwrap).collect();
        prop_assert_eq!(&read, &traces);
        prop_assert_eq!(std::fs::read(&path).unwrap().iter().filter(|&&b| b == b'\n').count(), traces.len());
    }

    #[test]
    fn a_cut_file_gives_its_whole_lines(traces in vec(trace(), 1..4), cut in any::<prop::sample::Index>()) {
        let mut bytes = Vec::new();
        let mut ends = Vec::new();
        for trace in &traces {
            serde_json::to_writer(&mut bytes, trace).unwrap();
            ends.push(bytes.len());
            bytes.push(b'\n');
        }
        let cut = cut.index(bytes.len() + 1);
        let whole = ends.iter().filter(|&&end| end <= cut).count();
        let torn = !ends.contains(&cut) && cut > 0 && bytes[cut - 1] != b'\n';
        let read = |reader: Reader<_>| reader.collect::<Vec<lyceum_trace::Result<Trace>>>();
        let tolerant = read(Reader::new(&bytes[..cut], Path::new("x")).tolerate_torn());
        prop_assert_eq!(tolerant.len(), whole);
        prop_assert!(tolerant.into_iter().zip(&traces).all(|(read, trace)| read.unwrap() == *trace));
        let strict = read(Reader::new(&bytes[..cut], Path::new("x")));
        prop_assert_eq!(strict.len(), whole + usize::from(torn));
        if torn {
            let message = strict[whole].as_ref().unwrap_err().to_string();
            let expected = format!("x:{}: the last line is torn", whole + 1);
            prop_assert!(message.starts_with(&expected), "{}", message);
        }
    }

    #[test]
    fn any_bytes_give_a_trace_or_an_error(bytes in vec(any::<u8>(), 0..200)) {
        let _ = parse_line(&bytes);
        let _ = Reader::new(&bytes[..], Path::new("x")).with_limit(16).count();
    }

    /// Near misses reach deeper into the parser than noise does; whatever parses must be consistent.
    #[test]
    fn a_spoilt_line_gives_a_trace_or_an_error(trace in trace(), at in any::<prop::sample::Index>(), byte: u8) {
        let mut bytes = serde_json::to_vec(&trace).unwrap();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(trace) = parse_line(&bytes) {
            prop_assert!(trace.validate().is_ok());
        }
    }

    #[test]
    fn runs_are_the_sequence(values in vec(0u8..3, 0..40)) {
        let runs: Runs<u8> = values.iter().copied().collect();
        prop_assert!(runs.runs().windows(2).all(|pair| pair[0].0 != pair[1].0));
        prop_assert_eq!(runs.iter().collect::<Vec<_>>(), values);
    }
}

#[test]
fn errors_name_file_and_line_and_reading_goes_on() {
    let good = serde_json::to_string(&Trace::new("a", "chain", Problem::default())).unwrap();
    let deep = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
    let file = format!("{good}\n{{\"version\":2,\"odd\":1}}\n\nnull\n{deep}\n{good}\n");
    let read: Vec<_> = Reader::new(file.as_bytes(), Path::new("t.jsonl")).collect();
    let shown: Vec<String> = read
        .iter()
        .map(|item| match item {
            Ok(trace) => trace.id.clone(),
            Err(error) => error.to_string(),
        })
        .collect();
    assert_eq!(shown.len(), 5);
    assert_eq!(shown[0], "a");
    assert_eq!(shown[1], "t.jsonl:2: trace version 2; this program reads version 1");
    assert!(shown[2].starts_with("t.jsonl:4: not a trace: invalid type: null"), "{}", shown[2]);
    assert!(shown[3].starts_with("t.jsonl:5: not a trace: "), "{}", shown[3]);
    assert_eq!(shown[4], "a");
}

#[test]
fn the_writer_refuses_what_the_reader_would() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("traces.jsonl");
    let (mut writer, _) = Writer::append(&path).unwrap();
    let mut trace = Trace::new("a", "chain", Problem::default());
    trace.total = Some(f64::INFINITY);
    assert!(matches!(writer.write(&trace), Err(Error::Invalid(_))));
    assert_eq!(std::fs::metadata(&path).unwrap().len(), 0);
}

#[test]
fn a_missing_file_is_named() {
    let Err(error) = Reader::open(Path::new("/nowhere/t.jsonl")) else { panic!("opened a missing file") };
    assert!(error.to_string().starts_with("/nowhere/t.jsonl: No such file"));
}
