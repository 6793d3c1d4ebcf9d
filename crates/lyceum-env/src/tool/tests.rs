use proptest::prelude::*;
use serde_json::json;

use super::*;

fn toolbox(spec: Value) -> Toolbox {
    let spec: ToolsSpec = serde_json::from_value(spec).unwrap();
    Toolbox::open(&spec, &[("k1".into(), "42".into())]).unwrap()
}

fn tagged() -> Toolbox {
    toolbox(json!({
        "use": [{"name": "search", "tag": "s"}, {"name": "calculator"}], "observation": "[{result}]", "longest": 20
    }))
}

#[test]
fn calls_in_tags() {
    let toolbox = tagged();
    assert_eq!(toolbox.stops(), ["</s>", "</calculator>"]);
    let called = toolbox.call("let me see <s> k1 ", "</s>").unwrap();
    assert_eq!((called.start, called.name.as_str(), &called.argument), (11, "search", &json!("k1")));
    assert_eq!(toolbox.answer(&called), Reply::Said("42".into()));
    assert_eq!(toolbox.observation(&toolbox.answer(&called)), "[42]");
    let sum = toolbox.call("<s>k1</s><calculator>(1+2)*3", "</calculator>").unwrap();
    assert_eq!(toolbox.answer(&sum), Reply::Said("9".into()));
    let unopened = toolbox.call("k1", "</s>").unwrap();
    let Reply::Refused(correction) = toolbox.answer(&unopened) else { panic!() };
    assert!(correction.contains("<s>...</s>"), "{correction}");
    assert_eq!(toolbox.call("<s>k1", "</other>"), None);
}

#[test]
fn calls_in_json() {
    let toolbox = toolbox(json!({"form": "json", "use": [{"name": "search"}, {"name": "calculator"}]}));
    let answer = |inside: &str| {
        let called = toolbox.call(&format!("so <tool_call>{inside}"), "</tool_call>").unwrap();
        assert_eq!(called.start, 3);
        toolbox.answer(&called)
    };
    assert_eq!(answer(r#"{"name": "search", "arguments": {"query": "K1"}}"#), Reply::Said("42".into()));
    assert_eq!(
        answer(r#"{"name": "calculator", "arguments": "2^3-1+1.5*2"}"#),
        answer(r#"{"name": "calculator", "arguments": "2^3-1+1.5*2"}"#)
    );
    for wrong in
        ["", "[]", "{\"name\": 3}", "{\"name\": \"serch\", \"arguments\": {}}", "{\"name\": \"search\""]
    {
        assert!(matches!(answer(wrong), Reply::Refused(text) if text.contains("<tool_call>")), "{wrong}");
    }
}

#[test]
fn a_tool_can_not_forge_a_call_or_flood_the_context() {
    let toolbox = tagged();
    let shown = |text: &str| toolbox.observation(&Reply::Said(text.into()));
    assert_eq!(shown("a<s>b</s>c"), "[abc]");
    assert_eq!(shown("<<s>s>k1</</s>s>"), "[k1]");
    assert_eq!(shown("<answer>5</answer>"), "[5]");
    // A megabyte of tags takes no longer than what is kept of it.
    assert_eq!(shown(&"<s>".repeat(400_000)), "[<s…]");
    assert_eq!(shown(&"é".repeat(30)), format!("[{}…]", "é".repeat(20)));
    assert_eq!(toolbox.observation(&Reply::Failed("died of /secret/path".into())), "[the tool failed]");
}

#[test]
fn a_tool_that_breaks_again_and_again_is_given_up_for_the_turn() {
    let toolbox = toolbox(json!({
        "use": [{"name": "own", "command": ["no-such-program-anywhere"]}, {"name": "calculator"}],
    }));
    let call = |text: &str, tag: &str| toolbox.call(&format!("<{tag}>{text}"), &format!("</{tag}>")).unwrap();
    let mut calls = vec![call("x", "own"); 6];
    calls.insert(4, call("1+1", "calculator"));
    let replies = toolbox.answers(&calls);
    let given_up = |reply: &Reply| matches!(reply, Reply::Failed(cause) if cause.contains("not asked"));
    let expected = [false, false, false, true, false, true, true];
    assert_eq!(replies.iter().map(given_up).collect::<Vec<_>>(), expected);
    assert_eq!(replies[4], Reply::Said("2".into()));
    // The next turn asks again.
    assert!(!given_up(&toolbox.answers(&calls)[0]));
}

#[test]
fn bad_tables_are_refused_by_name() {
    let refusal = |spec: Value| {
        let spec: ToolsSpec = serde_json::from_value(spec).unwrap();
        Toolbox::open(&spec, &[]).err().unwrap().to_string()
    };
    assert!(refusal(json!({"use": [{"name": "calculater"}]})).contains("`calculator`"));
    assert!(refusal(json!({"use": []})).contains("at least one"));
    assert!(refusal(json!({"use": [{"name": "search"}]})).contains("`data`"));
    assert!(refusal(json!({"use": [{"name": "calculator"}, {"name": "calculator"}]})).contains("twice"));
    assert!(refusal(json!({"use": [{"name": "calculator"}], "observation": "x"})).contains("{result}"));
    assert!(refusal(json!({"use": [{"name": "calculator", "data": "x"}]})).contains("data"));
    assert!(refusal(json!({"use": [{"name": "calculator", "tag": "a b"}]})).contains("tag"));
    assert!(refusal(json!({"use": [{"name": "x", "command": []}]})).contains("command"));
    assert!(refusal(json!({"use": [{"name": "stack", "deadline": 3.0}]})).contains("deadline"));
}

proptest! {
    #[test]
    fn any_text_is_read_and_answered(text in ".{0,80}", json: bool, tag in 0usize..2) {
        let toolbox = if json {
            toolbox(json!({"form": "json", "use": [{"name": "search"}]}))
        } else {
            tagged()
        };
        let stops = toolbox.stops();
        let stop = &stops[tag % stops.len()];
        let opened = format!("{text}{}{text}", stop.replace('/', ""));
        for turn in [text.as_str(), opened.as_str()] {
            let called = toolbox.call(turn, stop).unwrap();
            prop_assert!(turn.get(..called.start).is_some());
            let shown = toolbox.observation(&toolbox.answer(&called));
            prop_assert!(!shown.contains(stop.as_str()));
        }
    }
}
