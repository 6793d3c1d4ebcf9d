//! The client against a server that misbehaves by a script.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::time::{Duration, Instant};

use lyceum_chat::stub::{Act, Stub, body, deserted, ending, piece};
use lyceum_chat::{
    Cached, ChatModel, ChatReply, ChatRequest, Delta, Endpoint, EndpointSpec, Error, Fault, Limits, Result,
    ask_all,
};
use lyceum_text::Message;

fn request() -> ChatRequest {
    ChatRequest::greedy(vec![Message::new("user", "1+1?")], 16)
}

fn limits() -> Limits {
    Limits {
        call: Duration::from_secs(20),
        attempt: Duration::from_millis(600),
        between_chunks: Duration::from_millis(300),
        attempts: 3,
        bytes: 1 << 16,
        line: 1 << 12,
        events: 1 << 8,
    }
}

fn endpoint(address: &str) -> Endpoint {
    let spec = EndpointSpec { url: address.into(), model: "m".into(), ..EndpointSpec::default() };
    Endpoint::with_limits(&spec, limits()).unwrap()
}

/// Asks a server with this script whole and as a stream; the pieces stand in place of the text that was seen.
fn ask(script: &[Act], stream: bool) -> (Result<ChatReply>, String, usize) {
    let stub = Stub::start(script.to_vec()).unwrap();
    let endpoint = endpoint(stub.address());
    let mut seen = String::new();
    let reply = if stream {
        endpoint.stream(&request(), &mut |delta| match delta {
            Delta::Text(piece) => seen.push_str(piece),
            Delta::Reasoning(_) => {}
            Delta::Again => seen.push('|'),
        })
    } else {
        endpoint.chat(&request())
    };
    (reply, seen, stub.seen().len())
}

fn fault(script: &[Act], stream: bool) -> (Fault, usize) {
    let (reply, _, asked) = ask(script, stream);
    let Err(Error::Endpoint { fault, attempts, .. }) = reply else { panic!("{reply:?}") };
    assert_eq!(attempts as usize, asked);
    (fault, asked)
}

fn say(text: &str) -> Act {
    Act::Say(text.into())
}

fn status(code: u16) -> Act {
    Act::Status(code, Vec::new(), String::new())
}

#[test]
fn a_good_server_is_heard_whole_and_as_a_stream() {
    for stream in [false, true] {
        let (reply, seen, _) = ask(&[say("zwei é")], stream);
        let reply = reply.unwrap();
        assert_eq!(
            (reply.text.as_str(), reply.usage.completion_tokens, reply.wall.attempts),
            ("zwei é", 3, 1)
        );
        assert!(!stream || seen == "zwei é");
    }
}

#[test]
fn what_passes_is_tried_again() {
    for stream in [false, true] {
        for bad in [
            Act::Stall,
            Act::Cut,
            Act::Garbage,
            status(500),
            status(503),
            status(429),
            status(408),
            Act::Body(b"hello".to_vec()),
        ] {
            let (reply, _, asked) = ask(&[bad.clone(), say("2")], stream);
            assert_eq!(
                reply.map(|reply| (reply.text, reply.wall.attempts)).unwrap(),
                ("2".into(), 2),
                "{bad:?}"
            );
            assert_eq!(asked, 2);
        }
    }
}

#[test]
fn a_stream_that_breaks_off_begins_anew() {
    let half: Vec<String> = vec![piece("on"), piece("e")];
    for bad in [
        Act::Events(half.clone()),
        Act::StallAfter(half.clone()),
        Act::Events(vec![piece("one"), "}".into()]),
    ] {
        let (reply, seen, _) = ask(&[bad, say("two")], true);
        assert_eq!(reply.unwrap().text, "two");
        assert_eq!(seen, "one|two");
    }
}

#[test]
fn the_clients_own_mistakes_are_not_repeated() {
    for code in [301, 307, 400, 401, 403, 404, 413, 422] {
        let said = Act::Status(code, Vec::new(), r#"{"error": {"message": "no such model"}}"#.into());
        let (fault, asked) = fault(&[said], false);
        assert_eq!(asked, 1, "{code}");
        assert!(fault.to_string().contains("no such model"), "{fault}");
    }
}

#[test]
fn it_is_given_up_in_the_end() {
    assert!(matches!(fault(&[status(500)], false), (Fault::Status { code: 500, .. }, 3)));
    assert!(matches!(fault(&[Act::Stall], false), (Fault::Deadline { .. }, 3)));
    assert!(matches!(fault(&[Act::StallAfter(vec![piece("a")])], true), (Fault::Deadline { .. }, 3)));
    assert!(matches!(fault(&[Act::Body(b"\xff\xfe{".to_vec())], false), (Fault::Garbled(_), 3)));
    let deserted = endpoint(&deserted().unwrap()).chat(&request());
    assert!(matches!(deserted, Err(Error::Endpoint { fault: Fault::Connection(_), attempts: 3, .. })));
}

#[test]
fn floods_are_bounded() {
    assert!(matches!(fault(&[Act::Flood], true).0, Fault::Flood { .. }));
    assert!(matches!(fault(&[Act::Flood], false).0, Fault::Flood { .. }));
    assert!(matches!(
        fault(&[Act::Repeat(piece("a"), usize::MAX)], true),
        (Fault::Flood { of: "events", .. }, 1)
    ));
    assert!(matches!(fault(&[Act::Body(vec![b' '; 1 << 17])], false), (Fault::Flood { of: "bytes", .. }, 1)));
}

#[test]
fn a_server_that_drips_does_not_outlast_the_deadline() {
    let begin = Instant::now();
    let drip = Act::Drip("slow".into(), Duration::from_millis(100));
    assert!(matches!(fault(&[drip], false), (Fault::Deadline { .. }, 3)));
    assert!(begin.elapsed() < Duration::from_secs(6), "{:?}", begin.elapsed());
}

#[test]
fn retry_after_is_honoured_up_to_the_deadline() {
    let busy = |seconds: &str| Act::Status(429, vec![format!("Retry-After: {seconds}")], String::new());
    let begin = Instant::now();
    let (reply, ..) = ask(&[busy("1"), say("2")], false);
    assert_eq!(reply.unwrap().text, "2");
    assert!(begin.elapsed() >= Duration::from_secs(1));
    // One that outlasts the call is not waited for.
    let begin = Instant::now();
    assert!(matches!(fault(&[busy("3600")], false), (Fault::Status { code: 429, .. }, 1)));
    assert!(begin.elapsed() < Duration::from_secs(1));
}

#[test]
fn repeated_ends_do_no_harm() {
    let mut events = vec![piece("2")];
    events.extend(ending());
    events.extend(ending());
    events.push(piece("3"));
    assert_eq!(ask(&[Act::Events(events)], true).0.unwrap().text, "2");
}

#[test]
fn a_server_without_streams_is_heard_whole() {
    let (reply, seen, _) = ask(&[Act::Body(body("2").into())], true);
    assert_eq!((reply.unwrap().text.as_str(), seen.as_str()), ("2", "2"));
}

#[test]
fn the_key_is_sent_and_not_shown() {
    // Set for every process of cargo's; its value is no secret.
    let key = std::env::var("CARGO_MANIFEST_DIR").unwrap();
    let complaint = format!(r#"{{"error": {{"message": "bad key {key}"}}}}"#);
    let stub = Stub::start(vec![Act::Status(401, Vec::new(), complaint)]).unwrap();
    let spec = EndpointSpec {
        url: stub.address().into(),
        key_env: Some("CARGO_MANIFEST_DIR".into()),
        ..EndpointSpec::default()
    };
    let endpoint = Endpoint::new(&spec).unwrap();
    let error = endpoint.chat(&request()).unwrap_err();
    assert!(stub.seen()[0].contains(&format!("Bearer {key}")));
    assert!(!format!("{error} {error:?} {endpoint:?}").contains(&key), "{error:?}");
    assert!(error.to_string().contains("bad key [key]"), "{error}");
    let missing = EndpointSpec { key_env: Some("LYCEUM_NO_SUCH_KEY".into()), ..spec };
    assert!(Endpoint::new(&missing).unwrap_err().to_string().contains("LYCEUM_NO_SUCH_KEY"));
}

#[test]
fn many_are_asked_at_once_and_fail_alone() {
    let stub = Stub::start(vec![Act::Drip("2".into(), Duration::from_millis(2))]).unwrap();
    let mut requests = vec![request(); 8];
    requests[3].max_tokens = 0;
    let begin = Instant::now();
    let replies = ask_all(&endpoint(stub.address()), &requests, 8);
    let together = begin.elapsed();
    for (i, reply) in replies.iter().enumerate() {
        assert_eq!(reply.is_ok(), i != 3, "{reply:?}");
    }
    // One after the other is seven times one's time; one's time is over 0.2 s.
    assert!(together < Duration::from_millis(1_200), "{together:?}");
}

#[test]
fn rate_limits_hold_over_calls() {
    let stub = Stub::start(vec![say("2")]).unwrap();
    let spec =
        EndpointSpec { url: stub.address().into(), requests_per_minute: Some(2), ..EndpointSpec::default() };
    let endpoint = Endpoint::with_limits(&spec, limits()).unwrap();
    assert!(endpoint.chat(&request()).is_ok() && endpoint.chat(&request()).is_ok());
    let Err(Error::Endpoint { fault: Fault::Deadline { .. }, .. }) = endpoint.chat(&request()) else {
        panic!()
    };
    assert_eq!(stub.seen().len(), 2);
}

#[test]
fn a_cached_reply_needs_no_server() {
    let folder = tempfile::tempdir().unwrap();
    let stub = Stub::start(vec![say("2"), status(400)]).unwrap();
    let cached = Cached::new(endpoint(stub.address()), folder.path());
    let first = cached.chat(&request()).unwrap();
    let again = cached.chat(&request()).unwrap();
    assert_eq!((first.text, first.usage), (again.text, again.usage));
    assert_eq!((stub.seen().len(), again.wall.attempts), (1, 0));
}

#[test]
fn addresses_and_times_are_checked() {
    let of = |spec: EndpointSpec| Endpoint::new(&spec).map(|_| ()).unwrap_err().to_string();
    assert!(of(EndpointSpec { url: "localhost:80".into(), ..EndpointSpec::default() }).contains("http://"));
    let timeless = EndpointSpec { url: "http://x".into(), deadline: f64::NAN, ..EndpointSpec::default() };
    assert!(of(timeless).contains("deadline"));
}
