//! The client against llama.cpp's own server, and the local engine beside it: the same file of weights in both.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::process::Command;
use std::sync::Arc;

use lyceum_chat::stub::LlamaCpp;
use lyceum_chat::{
    Alternative, ChatModel, ChatRequest, Delta, Endpoint, EndpointSpec, Finish, LocalChat, Profile, ask_all,
};
use lyceum_engine::{Model, ModelRequest};
use lyceum_kernels::{Pool, Precision};
use lyceum_nn::decoder::{Options, Training};
use lyceum_text::Message;

const MODEL: &str = "smollm2-135m-instruct-q4_1";

/// With the system message that llama.cpp and the template would each put in themselves.
fn ask(text: &str, max_tokens: usize) -> ChatRequest {
    let messages = vec![
        Message::new("system", "You are a helpful AI assistant named SmolLM, trained by Hugging Face"),
        Message::new("user", text),
    ];
    ChatRequest::greedy(messages, max_tokens)
}

#[test]
#[ignore = "needs_llama_cpp: set LYCEUM_LLAMA_CPP"]
fn needs_llama_cpp_its_server_and_the_engine_say_the_same() {
    let gguf = lyceum_hub::resolve(MODEL, &lyceum_hub::Silent).unwrap().path;
    // Of a quantised file llama.cpp multiplies activations rounded to 8 bits, and this small model then says other things: its own
    // f32 file is what the engine, which dequantises on loading, is compared with.
    let folder = tempfile::tempdir().unwrap();
    let exact = folder.path().join("f32.gguf");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/dequantise.py");
    let python =
        Command::new(LlamaCpp::python().unwrap()).arg(script).arg(gguf).arg(&exact).status().unwrap();
    assert!(python.success(), "dequantise.py failed; is the package gguf installed beside llama-cpp-python?");
    let server = LlamaCpp::start(&exact, 1_024).unwrap();
    let spec = EndpointSpec {
        url: server.address().into(),
        model: MODEL.into(),
        profile: Profile::LlamaCpp,
        attempts: 1,
        ..EndpointSpec::default()
    };
    let endpoint = Endpoint::new(&spec).unwrap();
    let options = Options { precision: Precision::F32, training: Training::Frozen, ..Options::default() };
    let request = ModelRequest { name: MODEL.into(), adapter: None, options, preset_context: 512 };
    let model = Model::load(request, Arc::new(Pool::new(2)), &lyceum_hub::Silent).unwrap();
    let local = LocalChat::new(&model, 4);

    let questions = ["What is the capital of France?", "Say hello in one word.", "Count from one to five."];
    let requests: Vec<ChatRequest> =
        questions.iter().map(|q| ChatRequest { top_logprobs: Some(5), ..ask(q, 24) }).collect();
    let (theirs, ours) = (ask_all(&endpoint, &requests, 2), ask_all(&local, &requests, 2));
    // llama.cpp keeps keys and values as f16: close calls may fall otherwise.
    let (mut widest, mut equal) = (0.0_f64, 0);
    for (theirs, ours) in theirs.into_iter().zip(ours) {
        let (theirs, ours) = (theirs.unwrap(), ours.unwrap());
        eprintln!("llama.cpp: {:?}\nengine:    {:?}", theirs.text, ours.text);
        assert_eq!(theirs.usage.prompt_tokens, ours.usage.prompt_tokens, "the prompts are the same tokens");
        let same = theirs.tokens.iter().zip(&ours.tokens).take_while(|(a, b)| a.token == b.token).count();
        let pairs = theirs.tokens[..same].iter().zip(&ours.tokens);
        let gap = pairs.map(|(a, b)| (a.logprob - b.logprob).abs()).fold(0.0, f64::max);
        eprintln!("{same} tokens the same, widest gap of their log-probabilities {gap:.4}");
        widest = widest.max(gap);
        if same == ours.tokens.len() && same == theirs.tokens.len() {
            equal += 1;
            continue;
        }
        // They part at most where the engine finds both nearly as probable.
        let (theirs, ours) = (&theirs.tokens[same], &ours.tokens[same]);
        let other = ours.top.iter().find(|other| other.token == theirs.token).unwrap();
        eprintln!(
            "they part at {:?} and {:?}: {:.4} apart",
            theirs.token,
            ours.token,
            ours.logprob - other.logprob
        );
        assert!(ours.logprob - other.logprob < 0.05);
    }
    assert!(widest < 0.05 && equal >= 1, "{widest}, {equal}");

    // A stream says what the whole says.
    let mut seen = String::new();
    let streamed = endpoint
        .stream(&ask(questions[0], 24), &mut |delta| match delta {
            Delta::Text(piece) => seen.push_str(piece),
            other => panic!("{other:?}"),
        })
        .unwrap();
    assert_eq!(streamed.text, seen);
    assert_eq!(streamed.text, endpoint.chat(&ask(questions[0], 24)).unwrap().text);

    // Choices, stops, limits.
    let choices = vec!["blue".to_owned(), "green \"x\"".to_owned()];
    let chosen =
        endpoint.chat(&ChatRequest { choices: choices.clone(), ..ask("What colour is the sky?", 16) });
    assert!(chosen.unwrap().choice.is_some());
    let stopped =
        endpoint.chat(&ChatRequest { stop: vec!["three".into()], ..ask("Write: one two three four", 32) });
    assert!(!stopped.unwrap().text.contains("three"));
    let short = endpoint.chat(&ask("Tell a long story.", 5)).unwrap();
    assert_eq!((short.finish, short.usage.completion_tokens), (Finish::Length, 5));
    let sampled = |seed| {
        let request = ChatRequest { temperature: 1.0, seed: Some(seed), ..ask("Tell a story.", 16) };
        endpoint.chat(&request).unwrap().text
    };
    assert_eq!(sampled(1), sampled(1));
    assert_ne!(sampled(1), sampled(2));

    // What a judge reads: the digits' probabilities.
    let grade = ChatRequest {
        top_logprobs: Some(20),
        ..ask("Grade the answer 4 to the question 2+2 from 1 (worst) to 9 (best). Reply with one digit.", 1)
    };
    let (theirs, ours) = (endpoint.chat(&grade).unwrap(), local.chat(&grade).unwrap());
    let digits = |top: &[Alternative]| -> f64 {
        top.iter().filter(|a| a.token.trim().parse::<u8>().is_ok()).map(|a| a.logprob.exp()).sum()
    };
    let (theirs, ours) = (digits(&theirs.tokens[0].top), digits(&ours.tokens[0].top));
    eprintln!("mass of digits: llama.cpp {theirs:.4}, engine {ours:.4}");
    assert!((theirs - ours).abs() < 0.001);
}
