//! Programs as tools: whatever one does, a call becomes an answer or a failure with its cause.

use lyceum_env::tool::{CommandTool, Reply, Tool, ToolSpec};

fn tool(script: &str) -> CommandTool {
    CommandTool::new(&ToolSpec {
        name: "own".into(),
        tag: None,
        data: None,
        command: Some(vec!["sh".into(), "-c".into(), script.into()]),
        deadline: Some(0.5),
        startup: Some(0.5),
    })
}

#[test]
fn a_program_answers_and_corrects() {
    let echo = tool(
        r#"while read line; do case "$line" in *bad*) echo '{"error": "no"}';; *) echo '{"result": "yes"}';; esac; done"#,
    );
    assert_eq!(echo.answer("good"), Reply::Said("yes".into()));
    assert_eq!(echo.answer("bad"), Reply::Refused("no".into()));
    assert_eq!(echo.answer("a\nline \"quoted\""), Reply::Said("yes".into()));
    assert!(echo.asks_outside());
}

#[test]
fn a_broken_program_is_a_cause_and_not_a_crash() {
    for (script, cause) in [
        ("sleep 60", "did not answer within 1.0 s"),
        ("echo 'out of cheese' >&2; exit 3", "out of cheese"),
        ("while read line; do printf '\\377\\376\\n'; done", "no UTF-8"),
        ("while read line; do echo 42; done", "neither"),
        ("while read line; do echo '{\"result\": \"a\", \"error\": \"b\"}'; done", "neither"),
        ("read line; head -c 3000000 /dev/zero | tr '\\0' x", "megabyte"),
        ("yes flood", "nobody asked"),
    ] {
        let broken = tool(script);
        let mut causes = (0..2).map(|_| match broken.answer("x") {
            Reply::Failed(cause) => cause,
            other => panic!("{script}: {other:?}"),
        });
        assert!(causes.any(|found| found.contains(cause) || script == "yes flood"), "{script}");
    }
    let absent = CommandTool::new(&ToolSpec {
        name: "own".into(),
        tag: None,
        data: None,
        command: Some(vec!["no-such-program-anywhere".into()]),
        deadline: None,
        startup: None,
    });
    assert!(matches!(absent.answer("x"), Reply::Failed(cause) if cause.contains("can't be started")));
}

#[test]
fn after_a_failure_the_program_is_started_anew() {
    let folder = tempfile::tempdir().unwrap();
    let mark = folder.path().join("tried");
    let script = format!(
        "read line; if [ -e {0} ]; then echo '{{\"result\": \"back\"}}'; sleep 5; else touch {0}; exit 1; fi",
        mark.display()
    );
    let flaky = tool(&script);
    assert!(matches!(flaky.answer("x"), Reply::Failed(_)));
    assert_eq!(flaky.answer("x"), Reply::Said("back".into()));
}
