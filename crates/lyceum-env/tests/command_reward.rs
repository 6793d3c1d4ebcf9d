//! Reward commands that behave in every bad way, with a real python3.
#![expect(clippy::unwrap_used, reason = "the helpers of tests may fail as tests do")]

use std::path::Path;
use std::time::{Duration, Instant};

use lyceum_env::reward::{CommandReward, FailureKind, Question, RewardSpec, Rewards};
use lyceum_trace::{Call, Part, Problem, Score, Source, Trace};

/// What every script begins with: `lines` of questions, `say` for answers.
const PRELUDE: &str = "
import sys, json, time, os
def say(x): print(json.dumps(x), flush=True)
def lines():
    for line in sys.stdin:
        yield json.loads(line)
";

struct Script {
    _folder: tempfile::TempDir,
    command: Vec<String>,
}

fn script(body: &str) -> Script {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("my_reward.py");
    std::fs::write(&path, format!("{PRELUDE}{body}")).unwrap();
    Script { command: vec!["python3".to_owned(), path.display().to_string()], _folder: folder }
}

fn questions(completions: &[&str]) -> Vec<Question> {
    let question = |(i, text): (usize, &&str)| Question {
        id: format!("q{i}"),
        prompt: "How many?".to_owned(),
        completion: (*text).to_owned(),
        answer: Some("5".to_owned()),
    };
    completions.iter().enumerate().map(question).collect()
}

type Kinds = Vec<Result<f64, FailureKind>>;

/// Asks once with a short deadline and a long start-up, since many builds may share the machine.
fn ask(body: &str, completions: &[&str]) -> (Kinds, Vec<String>) {
    let script = script(body);
    let mut reward =
        CommandReward::new(script.command.clone(), Duration::from_millis(1_500), Duration::from_secs(20));
    let outcomes = reward.ask(&questions(completions));
    let messages = outcomes.iter().filter_map(|o| o.as_ref().err().map(|f| f.message.clone())).collect();
    (outcomes.into_iter().map(|o| o.map(|c| c["reward"]).map_err(|f| f.kind)).collect(), messages)
}

#[test]
fn an_honest_command_is_asked_again_and_again() {
    let script = script(
        "
n = 0
for q in lines():
    n += 1
    say({'id': q['id'], 'reward': float(q['completion'] == q['answer']), 'components': {'asked': n}})
",
    );
    let mut reward =
        CommandReward::new(script.command.clone(), Duration::from_secs(5), Duration::from_secs(20));
    for round in 0..3 {
        let outcomes = reward.ask(&questions(&["5", "6", "5"]));
        let values: Vec<(f64, f64)> =
            outcomes.into_iter().map(|o| o.map(|c| (c["reward"], c["asked"])).unwrap()).collect();
        let n = 3.0 * f64::from(round);
        assert_eq!(values, [(1.0, n + 1.0), (0.0, n + 2.0), (1.0, n + 3.0)]);
    }
    assert!(reward.ask(&[]).is_empty());
}

#[test]
fn a_batch_larger_than_any_pipe_passes() {
    let long = "x".repeat(20_000);
    let (outcomes, _) = ask("for q in lines(): say({'reward': len(q['completion'])})", &[long.as_str(); 50]);
    assert_eq!(outcomes, vec![Ok(20_000.0); 50]);
}

#[test]
fn a_hang_costs_its_question_only() {
    let body = "
for q in lines():
    if q['completion'] == 'hang': time.sleep(1000)
    say({'reward': 1})
";
    let (outcomes, messages) = ask(body, &["a", "hang", "b"]);
    assert_eq!(outcomes, [Ok(1.0), Err(FailureKind::Deadline), Ok(1.0)]);
    assert!(messages[0].contains("did not answer within 1.5 s"), "{messages:?}");
}

#[test]
fn a_hang_with_children_leaves_no_process_behind() {
    let folder = tempfile::tempdir().unwrap();
    let pid_file = folder.path().join("pid");
    let body = format!(
        "
import subprocess
child = subprocess.Popen(['sleep', '1000'])
open({:?}, 'w').write(str(child.pid))
for q in lines(): time.sleep(1000)
",
        pid_file.display().to_string()
    );
    let script = script(&body);
    let mut reward =
        CommandReward::new(script.command.clone(), Duration::from_secs(3), Duration::from_millis(1));
    let outcomes = reward.ask(&questions(&["a"]));
    assert_eq!(outcomes[0].as_ref().unwrap_err().kind, FailureKind::Deadline);
    let pid = std::fs::read_to_string(&pid_file).unwrap();
    // A zombie waiting for its reaper is dead too.
    let alive = || {
        std::fs::read_to_string(Path::new("/proc").join(&pid).join("stat"))
            .is_ok_and(|stat| !stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('Z')))
    };
    let patience = Instant::now() + Duration::from_secs(5);
    while alive() && Instant::now() < patience {
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(!alive(), "process {pid} lives on");
}

#[test]
fn a_death_is_told_with_its_last_words_and_survived() {
    let body = "
for q in lines():
    if q['completion'] == 'die': raise SystemExit('no such model: gpt-9')
    say({'reward': 1})
";
    let (outcomes, messages) = ask(body, &["a", "die", "b", "die", "c"]);
    assert_eq!(outcomes, [Ok(1.0), Err(FailureKind::Died), Ok(1.0), Err(FailureKind::Died), Ok(1.0)]);
    assert!(
        messages[0].contains("exit status: 1") && messages[0].contains("no such model: gpt-9"),
        "{messages:?}"
    );
}

#[test]
fn restarts_are_bounded() {
    let start = Instant::now();
    let (outcomes, messages) = ask("raise ValueError('broken')", &["a"; 40]);
    assert_eq!(outcomes, vec![Err(FailureKind::Died); 40]);
    assert!(messages[0].contains("ValueError: broken"), "{messages:?}");
    assert!(messages[39].contains("3 times in a row"), "{messages:?}");
    assert!(start.elapsed() < Duration::from_secs(30));
}

#[test]
fn a_command_that_is_not_there_is_said_to_be() {
    let mut reward = CommandReward::new(
        vec!["no-such-program-here".into()],
        Duration::from_secs(1),
        Duration::from_secs(1),
    );
    let outcomes = reward.ask(&questions(&["a", "b"]));
    let failure = outcomes[0].as_ref().unwrap_err();
    assert_eq!(failure.kind, FailureKind::Died);
    assert!(failure.message.contains("`no-such-program-here` can't be started"), "{}", failure.message);
}

#[test]
fn garbage_and_numbers_that_are_none_fail_alone() {
    let body = "
for q in lines(): print(q['completion'], flush=True)
";
    let (outcomes, messages) = ask(
        body,
        &[
            "{\"reward\": 1}",
            "hello",
            "{\"reward\": NaN}",
            "{\"reward\": -Infinity}",
            "{}",
            "[1]",
            "{\"reward\": \"1\"}",
            "{\"id\": \"q9\", \"reward\": 1}",
            "{\"reward\": 1e999}",
            "",
            "{\"reward\": 2, \"extra\": []}",
        ],
    );
    use FailureKind::{Garbage, NotFinite};
    assert_eq!(
        outcomes,
        [
            Ok(1.0),
            Err(Garbage),
            Err(NotFinite),
            Err(NotFinite),
            Err(Garbage),
            Err(Garbage),
            Err(Garbage),
            Err(Garbage),
            Err(Garbage),
            Err(Garbage),
            Ok(2.0)
        ]
    );
    assert!(messages[0].contains("q1: hello"), "{messages:?}");
}

#[test]
fn a_flood_without_a_newline_is_cut_off() {
    let body = "
for q in lines():
    if q['completion'] == 'flood':
        while True: sys.stdout.write('x' * 65536)
    say({'reward': 1})
";
    let (outcomes, messages) = ask(body, &["a", "flood", "b"]);
    assert_eq!(outcomes, [Ok(1.0), Err(FailureKind::Garbage), Ok(1.0)]);
    assert!(messages[0].contains("without a newline"), "{messages:?}");
}

#[test]
fn a_flood_of_lines_and_surplus_lines_spoil_the_batch() {
    for body in [
        "
for q in lines():
    print('debug: scoring', q['id'], flush=True)
    say({'reward': 1})
",
        "
for q in lines():
    while True: say({'reward': 1})
",
    ] {
        let (outcomes, messages) = ask(body, &["a", "b"]);
        assert_eq!(outcomes, vec![Err(FailureKind::Garbage); 2]);
        assert!(messages[0].contains("more lines than it was asked for"), "{messages:?}");
    }
}

#[test]
fn too_few_lines_are_a_deadline() {
    let body = "
for i, q in enumerate(lines()):
    if i % 2 == 0: say({'reward': i})
";
    let (outcomes, _) = ask(body, &["a", "b", "c"]);
    // q1 gets no line, so q2's is taken for it only if it comes in time: here q2's line answers q1, and q2 has none.
    assert_eq!(outcomes[0], Ok(0.0));
    assert_eq!(outcomes[2], Err(FailureKind::Deadline));
}

#[test]
fn a_slow_start_is_waited_for_once() {
    let body = "
time.sleep(2.5)
for q in lines():
    say({'reward': 1})
";
    let (outcomes, _) = ask(body, &["a", "b"]);
    assert_eq!(outcomes, [Ok(1.0), Ok(1.0)]);
}

fn trace(completion: &str, tokens: u64) -> Trace {
    let problem = Problem { id: "p".into(), split: "train".into(), answer: Some("5".into()) };
    let mut trace = Trace::new("t", "toy", problem);
    trace.calls.push(Call {
        parent: None,
        role: "policy".into(),
        model: "m".into(),
        parts: vec![Part::text(Source::Prompt, "2+3?"), Part::text(Source::Sampled, completion)],
        tokens: None,
        finish: None,
    });
    trace.cost.generated_tokens = tokens;
    trace.rewards.insert("correct".into(), Score::Value(f64::from(u8::from(completion == "5"))));
    trace
}

#[test]
fn rewards_fill_traces() {
    let script = script(
        "
for q in lines():
    assert q['prompt'] == '2+3?'
    say({'components': {'brief': 1 / len(q['completion'])}})
",
    );
    let spec = RewardSpec {
        weights: [("correct".to_owned(), 1.0), ("brief".to_owned(), 0.5), ("length".to_owned(), 0.1)].into(),
        length: Some(lyceum_env::reward::LengthSpec { free: 0, limit: 10 }),
        command: Some(script.command.clone()),
        ..RewardSpec::default()
    };
    spec.check().unwrap();
    let mut rewards = Rewards::open(&spec);
    assert!(rewards.asks_outside());
    let mut groups = [vec![trace("5", 5), trace("five", 10)]];
    rewards.score(&mut groups);
    let traces = &groups[0];
    assert_eq!(traces[0].total, Some(1.0 + 0.5 + 0.05));
    assert_eq!(traces[1].total, Some(0.125));
    assert_eq!(traces[1].rewards["brief"], Score::Value(0.25));
}

#[test]
fn a_failed_reward_leaves_a_trace_without_a_total() {
    let script = script("raise SystemExit('out of order')");
    let spec = RewardSpec { command: Some(script.command.clone()), ..RewardSpec::default() };
    let mut rewards = Rewards::open(&spec);
    let mut groups = [vec![trace("5", 5)]];
    rewards.score(&mut groups);
    let traces = &groups[0];
    assert_eq!(traces[0].total, None);
    assert_eq!(traces[0].rewards["correct"], Score::Value(1.0));
    assert!(matches!(&traces[0].rewards["reward"], Score::Failed(cause) if cause.contains("out of order")));
}
