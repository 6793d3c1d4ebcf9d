//! The client against llama.cpp's own server, and the local engine beside it: the same file of weights in both.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

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
    let server = LlamaCpp::start(&gguf, 1_024).unwrap();
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
    let mut widest: f64 = 0.0;
    for (theirs, ours) in theirs.into_iter().zip(ours) {
        let (theirs, ours) = (theirs.unwrap(), ours.unwrap());
        eprintln!("llama.cpp: {:?}\nengine:    {:?}", theirs.text, ours.text);
        assert_eq!(theirs.usage.prompt_tokens, ours.usage.prompt_tokens, "the prompts are the same tokens");
        // llama.cpp multiplies in 8 bits, so that close calls fall otherwise; up to there the probabilities agree.
        let same = theirs.tokens.iter().zip(&ours.tokens).take_while(|(a, b)| a.token == b.token).count();
        let compared = theirs.tokens.iter().zip(&ours.tokens).take(same);
        let gap = compared.map(|(a, b)| (a.logprob - b.logprob).abs()).fold(0.0, f64::max);
        eprintln!("same tokens: {same} of {}, widest gap {gap:.3}", ours.tokens.len());
        widest = widest.max(gap);
        assert!(same >= 3);
    }
    assert!(widest < 0.5, "{widest}");

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
    assert!((theirs - ours).abs() < 0.1);
}
