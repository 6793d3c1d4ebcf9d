//! The local engine behind the trait, on a small random model.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::sync::Arc;

use lyceum_chat::{ChatModel, ChatRequest, Delta, Finish, LocalChat, ask_all};
use lyceum_engine::{Model, ModelRequest};
use lyceum_kernels::{Pool, Precision};
use lyceum_nn::decoder::Options;
use lyceum_text::Message;

fn model() -> Model {
    let request = ModelRequest {
        name: "tiny-0.3m".into(),
        adapter: None,
        options: Options { precision: Precision::F32, seed: 3, ..Options::default() },
        preset_context: 128,
    };
    Model::load(request, Arc::new(Pool::new(2)), &lyceum_hub::Silent).unwrap()
}

fn sampled(seed: u64) -> ChatRequest {
    ChatRequest {
        temperature: 1.0,
        seed: Some(seed),
        ..ChatRequest::greedy(vec![Message::new("user", "1+1?")], 12)
    }
}

#[test]
fn together_or_alone_streamed_or_whole_a_reply_is_the_same() {
    let model = model();
    let chat = LocalChat::new(&model, 4);
    let requests: Vec<ChatRequest> = (0..6).map(sampled).collect();
    let together = ask_all(&chat, &requests, 4);
    for (request, reply) in requests.iter().zip(together) {
        let reply = reply.unwrap();
        let mut seen = String::new();
        let alone = chat
            .stream(request, &mut |delta| {
                if let Delta::Text(piece) = delta {
                    seen.push_str(piece);
                }
            })
            .unwrap();
        assert_eq!((&alone.text, alone.usage), (&reply.text, reply.usage));
        assert_eq!(seen, reply.text);
    }
    let bad = ChatRequest { max_tokens: 0, ..sampled(0) };
    let mixed = ask_all(&chat, &[bad, sampled(0)], 2);
    assert!(mixed[0].is_err() && mixed[1].is_ok());
}

#[test]
fn log_probabilities_agree_with_sampling_and_scoring() {
    let model = model();
    let chat = LocalChat::new(&model, 4);
    let request = ChatRequest { top_logprobs: Some(5), stop: Vec::new(), ..sampled(1) };
    let reply = chat.chat(&request).unwrap();
    assert_eq!(reply.tokens.len() as u64, reply.usage.completion_tokens);
    assert_eq!(reply.finish, Finish::Length);
    for token in &reply.tokens {
        assert_eq!(token.top.len(), 5);
        assert!(token.top.windows(2).all(|pair| pair[0].logprob >= pair[1].logprob));
        // Single bytes of longer characters all look the same as text.
        let text = token.token != "\u{fffd}";
        if let Some(same) = token.top.iter().find(|alternative| text && alternative.token == token.token) {
            assert!((same.logprob - token.logprob).abs() < 1e-4, "{token:?}");
        }
        assert!(token.top[0].logprob >= token.logprob - 1e-4);
    }
    // All of the vocabulary sums to one.
    let whole = chat.chat(&ChatRequest { top_logprobs: Some(usize::MAX), ..sampled(1) }).unwrap();
    let mass: f64 = whole.tokens[3].top.iter().map(|alternative| alternative.logprob.exp()).sum();
    assert!((mass - 1.0).abs() < 1e-4, "{mass}");

    let scored = chat.log_probability(&request.messages, "a b").unwrap();
    assert_eq!(scored.tokens.len(), 3);
    let prompt = model.codec.prompt(&request.messages).unwrap();
    let ids = model.codec.tokenizer().encode("a b").unwrap();
    let tops = model.alternatives(&prompt, &ids, usize::MAX).unwrap();
    for ((id, logp), top) in ids.iter().zip(&scored.tokens).zip(tops) {
        let same = top.iter().find(|(other, _)| other == id).unwrap().1;
        assert!((same - logp).abs() < 1e-4, "{same} {logp}");
    }
}

#[test]
fn a_choice_is_kept_to() {
    let model = model();
    let request = ChatRequest { choices: vec!["yes".into(), "no".into()], ..sampled(2) };
    let reply = LocalChat::new(&model, 1).chat(&request).unwrap();
    assert_eq!(request.choices[reply.choice.unwrap()], reply.text);
}
