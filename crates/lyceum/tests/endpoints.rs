//! `generate` and `eval` against a server.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::process::{Command, Output};

use lyceum_chat::stub::{Act, Stub};
use serde_json::Value;

fn lyceum(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_lyceum")).args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn prompts_are_completed_elsewhere() {
    let stub = Stub::start(vec![Act::Say("four".into())]).unwrap();
    let at = ["--endpoint", stub.address(), "--endpoint-profile", "vllm", "--endpoint-model", "big"];
    let one = lyceum(&[&["generate", "2+2?"][..], &at].concat());
    assert_eq!(text(&one.stdout), "four\n", "{}", text(&one.stderr));
    assert!(stub.seen()[0].contains("\"model\":\"big\"") && stub.seen()[0].contains("\"stream\":true"));
    let two = lyceum(&[&["--json", "generate", "2+2?", "--samples", "2"][..], &at].concat());
    let answers: Value = serde_json::from_slice(&two.stdout).unwrap();
    assert_eq!(answers[0]["replies"][1]["text"], "four");
    assert_eq!(answers[0]["model"], "big");
}

#[test]
fn a_server_is_examined_and_its_replies_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path().to_str().unwrap();
    let stub = Stub::start(vec![Act::Say("no idea".into())]).unwrap();
    let examine = || {
        let of = ["--json", "eval", "chain", "--limit", "3", "--endpoint", stub.address()];
        let out = lyceum(&[&of[..], &["--endpoint-cache", cache]].concat());
        serde_json::from_slice::<Value>(&out.stdout).unwrap_or_else(|_| panic!("{}", text(&out.stderr)))
    };
    let report = examine();
    assert_eq!(report["components"]["correct"]["mean"], 0.0);
    assert_eq!(report["items"][0]["completions"][0], "no idea");
    let asked = stub.seen().len();
    assert_eq!(examine()["components"], report["components"]);
    assert_eq!((asked, stub.seen().len()), (3, 3));
}

#[test]
fn what_does_not_go_together_is_refused() {
    let at = ["--endpoint", "http://localhost:1/v1"];
    for (more, named) in [
        (&["generate", "x", "--raw"][..], "--raw"),
        (&["generate", "x", "--model", "tiny-0.3m"], "--model"),
        (&["generate", "x", "--top-k", "3"], "--top-k"),
        (&["generate", "x", "--endpoint-profile", "claude"], "vllm"),
        (&["generate", "x", "--endpoint-key-env", "LYCEUM_NO_SUCH_KEY"], "LYCEUM_NO_SUCH_KEY"),
        (&["eval", "chain", "--best-of", "m"], "--best-of"),
    ] {
        let out = lyceum(&[more, &at].concat());
        assert!(!out.status.success() && text(&out.stderr).contains(named), "{}", text(&out.stderr));
    }
    let alone = lyceum(&["generate", "x", "--endpoint-model", "m"]);
    assert!(text(&alone.stderr).contains("--endpoint"), "{}", text(&alone.stderr));
}
