//! What the generator promises, on a small random model: a sample is its prompt's, settings' and key's alone.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::needless_pass_by_value,
    reason = "a test fails by panicking"
)]

use std::sync::Arc;

use lyceum_engine::{Choices, Completion, Event, Finish, Generator, Request, Sampling, Stop};
use lyceum_kernels::{Pool, Precision};
use lyceum_nn::config::DecoderConfig;
use lyceum_nn::decoder::{KernelPolicy, Options};
use lyceum_nn::policy::{NamedTensor, Policy};
use lyceum_nn::presets::tiny_0_3m;
use lyceum_stats::{Draw, Purpose};
use lyceum_text::{ControlTokens, SpecialTokens, Tokenizer};

const CONTEXT: usize = 64;

struct School {
    policy: KernelPolicy,
    tokenizer: Tokenizer,
}

impl School {
    /// Two layers and weights five times as large as usual, so that distributions are far from uniform.
    fn new(precision: Precision, threads: usize) -> Self {
        let control = ControlTokens { more: Vec::new(), ..ControlTokens::default() };
        let tokenizer = Tokenizer::bytes(&control).unwrap();
        let config = DecoderConfig {
            num_layers: 2,
            num_kv_heads: 1,
            max_positions: CONTEXT,
            tied_embeddings: false,
            ..tiny_0_3m(tokenizer.vocab_size())
        };
        let options = Options { precision, ..Options::default() };
        let policy = KernelPolicy::random(config, options, Arc::new(Pool::new(threads)), 7).unwrap();
        let mut school = Self { policy, tokenizer };
        school.change(|_, values| values.iter_mut().for_each(|x| *x *= 5.0));
        school
    }

    fn change(&mut self, change: impl Fn(&str, &mut [f32])) {
        let named = self.policy.named_parameters();
        let mut owned: Vec<(String, Vec<f32>)> =
            named.iter().map(|t| (t.name.to_owned(), t.data.to_vec())).collect();
        owned.iter_mut().for_each(|(name, values)| change(name, values));
        let tensors: Vec<NamedTensor<'_>> =
            owned.iter().map(|(name, data)| NamedTensor { name, shape: &[], data }).collect();
        self.policy.load_parameters(&tensors).unwrap();
    }

    fn answer(&self, batch: usize, requests: &[Request]) -> Vec<Vec<Completion>> {
        Generator::new(self.policy.decoder(), &self.tokenizer, batch).generate(requests, &mut |_| {}).unwrap()
    }
}

/// Prompt number `number`: 1 to 33 tokens, any of them printable.
fn prompt(number: u64) -> Vec<u32> {
    (0..1 + (number * 7) % 33).map(|i| 40 + ((number * 31 + i * 17) % 80) as u32).collect()
}

/// Samples that end at different times: one token in twelve stops.
fn request(number: u64, samples: u64, sampling: &Sampling) -> Request {
    Request {
        prompt: prompt(number),
        samples: (0..samples).map(|sample| Draw { seed: 3, step: 2, prompt: number, sample }).collect(),
        purpose: Purpose::Tokens,
        sampling: sampling.clone(),
        stop: Stop { tokens: (0..20).collect(), strings: Vec::new(), max_new_tokens: 24 },
        choices: None,
        drawn: 0,
    }
}

fn one(prompt: Vec<u32>, sampling: Sampling) -> Request {
    Request { prompt, stop: Stop { max_new_tokens: 24, ..Stop::default() }, ..request(0, 1, &sampling) }
}

/// Everything that must not differ, log-probabilities by their bits.
fn exactly(completion: &Completion) -> (&[u32], Vec<u32>, Vec<u32>, &str, Finish) {
    let bits = |values: &[f32]| values.iter().map(|x| x.to_bits()).collect();
    (&completion.ids, bits(&completion.logp), bits(&completion.kept), &completion.text, completion.finish)
}

fn assert_same(a: &Completion, b: &Completion, what: &str) {
    assert_eq!(exactly(a), exactly(b), "{what}");
}

fn settings() -> [Sampling; 3] {
    let cut = Sampling { temperature: 0.8, top_k: 40, top_p: 0.9, min_p: 0.01, repetition_penalty: 1.2 };
    [Sampling::default(), cut, Sampling::greedy()]
}

#[test]
fn a_sample_is_the_same_at_every_batch_size_thread_count_and_refill_order() {
    for precision in [Precision::F32, Precision::Bf16] {
        let school = School::new(precision, 2);
        let single = School::new(precision, 1);
        for sampling in settings() {
            let requests: Vec<Request> = (0..12).map(|n| request(n, 6, &sampling)).collect();
            let alone = school.answer(1, &requests);
            let lengths: std::collections::BTreeSet<usize> =
                alone.iter().flatten().map(|c| c.ids.len()).collect();
            assert!(lengths.len() > 3, "samples must end at different times to test refills: {lengths:?}");
            for batch in [2, 16, 64] {
                for (n, (a, b)) in
                    alone.iter().flatten().zip(school.answer(batch, &requests).iter().flatten()).enumerate()
                {
                    assert_same(a, b, &format!("{precision:?}, batch {batch}, sample {n}"));
                }
            }
            for (a, b) in alone.iter().flatten().zip(single.answer(16, &requests).iter().flatten()) {
                assert_same(a, b, "one thread");
            }
            // The other way round: the last prompt first, the last sample first.
            let turned: Vec<Request> = requests
                .iter()
                .rev()
                .map(|r| Request { samples: r.samples.iter().rev().copied().collect(), ..r.clone() })
                .collect();
            let answers = school.answer(7, &turned);
            for (a, b) in
                alone.iter().flatten().zip(answers.iter().rev().flat_map(|group| group.iter().rev()))
            {
                assert_same(a, b, "turned round");
            }
        }
    }
}

#[test]
fn a_group_that_shares_its_prompt_equals_requests_of_their_own() {
    let school = School::new(Precision::Bf16, 2);
    let group = request(5, 8, &Sampling::default());
    let apart: Vec<Request> =
        group.samples.iter().map(|&draw| Request { samples: vec![draw], ..group.clone() }).collect();
    let shared = school.answer(5, std::slice::from_ref(&group));
    let apart = school.answer(8, &apart);
    assert_eq!(shared[0].len(), 8);
    for (a, b) in shared[0].iter().zip(apart.iter().flatten()) {
        assert_same(a, b, "shared against apart");
    }
    let different: std::collections::BTreeSet<&[u32]> = shared[0].iter().map(|c| c.ids.as_slice()).collect();
    assert!(different.len() > 4, "samples of a group have numbers of their own");
}

#[test]
fn a_stop_token_ends_the_sample_and_is_no_text() {
    let school = School::new(Precision::F32, 1);
    let free = one(prompt(4), Sampling::default());
    let whole = &school.answer(1, std::slice::from_ref(&free))[0][0];
    assert_eq!((whole.ids.len(), whole.finish), (24, Finish::Length));
    let token = whole.ids[9];
    let end = whole.ids.iter().position(|&id| id == token).unwrap();
    let stopped = Request { stop: Stop { tokens: vec![token], ..free.stop.clone() }, ..free };
    let stopped = &school.answer(1, &[stopped])[0][0];
    assert_eq!(stopped.finish, Finish::Stop);
    assert_eq!(stopped.ids, whole.ids[..=end]);
    assert_eq!(stopped.logp, whole.logp[..=end]);
    let text = school.tokenizer.decode(&whole.ids[..end], SpecialTokens::Skip).unwrap();
    assert!(text.starts_with(&stopped.text), "{text:?} {:?}", stopped.text);
}

#[test]
fn a_stop_string_ends_the_sample_and_is_cut_off() {
    let school = School::new(Precision::F32, 1);
    for number in 0..8 {
        let free = one(prompt(number), Sampling::default());
        let whole = &school.answer(1, std::slice::from_ref(&free))[0][0];
        // Two characters from the middle: the string is spelt by at least two tokens.
        let characters: Vec<char> = whole.text.chars().collect();
        let stop: String = characters[characters.len() / 2..][..2].iter().collect();
        let at = whole.text.find(&stop).unwrap();
        let strings = vec!["never said by anyone".to_owned(), stop.clone()];
        let stopped = Request { stop: Stop { strings, ..free.stop.clone() }, ..free };
        let stopped = &school.answer(1, &[stopped])[0][0];
        assert_eq!(stopped.finish, Finish::Stop, "{stop:?} in {:?}", whole.text);
        assert_eq!(stopped.text, whole.text[..at]);
        assert_eq!(stopped.ids, whole.ids[..stopped.ids.len()]);
        assert!(stopped.ids.len() < whole.ids.len());
    }
}

#[test]
fn the_end_of_the_context_ends_the_sample() {
    let school = School::new(Precision::F32, 1);
    let long: Vec<u32> = (0..CONTEXT as u32 - 4).map(|i| 40 + i).collect();
    let completion = &school.answer(1, &[one(long, Sampling::default())])[0][0];
    assert_eq!((completion.ids.len(), completion.finish), (4, Finish::Length));
}

#[test]
fn a_constrained_completion_is_always_one_of_the_choices() {
    let school = School::new(Precision::Bf16, 2);
    let words = ["yes", "no", "nope", "yes, but not today", "Ärger"];
    let ids: Vec<Vec<u32>> = words.iter().map(|word| school.tokenizer.encode(word).unwrap()).collect();
    let choices = Arc::new(Choices::new(ids.iter().map(Vec::as_slice)));
    let end = school.tokenizer.special().eos.clone();
    let mut said = std::collections::BTreeSet::new();
    for sampling in settings() {
        let requests: Vec<Request> = (0..8)
            .map(|number| Request {
                choices: Some(Arc::clone(&choices)),
                drawn: 0,
                stop: Stop { tokens: end.clone(), strings: Vec::new(), max_new_tokens: 30 },
                ..request(number, 8, &sampling)
            })
            .collect();
        for completion in school.answer(16, &requests).into_iter().flatten() {
            assert!(words.contains(&completion.text.as_str()), "{completion:?}");
            assert_eq!(completion.finish, Finish::Stop);
            assert!(completion.logp.iter().all(|x| x.is_finite() && *x <= 0.0));
            said.insert(completion.text);
        }
    }
    assert!(said.len() > 2, "sampling reaches more than one choice: {said:?}");
}

#[test]
fn a_prompt_that_cant_be_answered_is_a_fault_of_its_own() {
    let school = School::new(Precision::F32, 2);
    let good = one(prompt(3), Sampling::default());
    let vocabulary = school.tokenizer.vocab_size() as u32;
    let bad = [
        (one(Vec::new(), Sampling::default()), "empty"),
        (one(vec![50; CONTEXT], Sampling::default()), "context"),
        (one(vec![50; 5 * CONTEXT], Sampling::default()), "context"),
        (one(vec![50, vocabulary], Sampling::default()), "does not know"),
        (one(vec![50], Sampling { temperature: f32::NAN, ..Sampling::default() }), "temperature"),
        (one(vec![50], Sampling { top_p: 0.0, ..Sampling::default() }), "top_p"),
    ];
    let expected = school.answer(1, std::slice::from_ref(&good));
    let mut requests: Vec<Request> = bad.iter().map(|(request, _)| request.clone()).collect();
    requests.push(good);
    for batch in [1, 3, 64] {
        let answers = school.answer(batch, &requests);
        for (answer, (_, word)) in answers.iter().zip(&bad) {
            let Completion { finish, ids, fault, .. } = &answer[0];
            assert_eq!((*finish, ids.len()), (Finish::Fault, 0));
            assert!(fault.as_ref().unwrap().contains(word), "{fault:?}: {word}");
        }
        assert_same(&answers[bad.len()][0], &expected[0][0], "the answerable one");
    }
}

#[test]
fn broken_weights_are_a_fault_of_the_samples_that_meet_them() {
    let whole = School::new(Precision::F32, 2);
    let mut broken = School::new(Precision::F32, 2);
    let poison = 77u32;
    let hidden = broken.policy.config().hidden_size;
    broken.change(|name, values| {
        if name == "model.embed_tokens.weight" {
            values[poison as usize * hidden..][..hidden].fill(f32::NAN);
        }
    });
    let requests: Vec<Request> = (0..12).map(|n| request(n, 4, &Sampling::default())).collect();
    let mut faults = 0;
    for (request, (good, bad)) in
        requests.iter().zip(whole.answer(16, &requests).iter().zip(&broken.answer(16, &requests)))
    {
        for (good, bad) in good.iter().zip(bad) {
            let met = good.ids.iter().take(good.ids.len() - 1).position(|&id| id == poison);
            let survived = if request.prompt.contains(&poison) { Some(0) } else { met.map(|at| at + 1) };
            match survived {
                None => assert_same(good, bad, "a sample that never meets the broken row"),
                Some(tokens) => {
                    faults += 1;
                    assert_eq!(bad.finish, Finish::Fault);
                    assert!(bad.fault.as_ref().unwrap().contains("not finite"));
                    assert_eq!(bad.ids, good.ids[..tokens]);
                    assert!(bad.logp.iter().all(|x| x.is_finite()));
                }
            }
        }
    }
    assert!((4..48).contains(&faults), "{faults}");
    broken.change(|name, values| {
        if name == "model.norm.weight" {
            values.fill(f32::NAN);
        }
    });
    for completion in broken.answer(16, &requests).iter().flatten() {
        assert_eq!((completion.finish, completion.ids.len()), (Finish::Fault, 0));
    }
}

#[test]
fn events_tell_every_piece_and_every_end_once() {
    let school = School::new(Precision::F32, 2);
    let requests: Vec<Request> = (0..5).map(|n| request(n, 3, &Sampling::default())).collect();
    let mut pieces = vec![vec![String::new(); 3]; 5];
    let mut ends = vec![vec![0; 3]; 5];
    let generator = Generator::new(school.policy.decoder(), &school.tokenizer, 4);
    let answers = generator
        .generate(&requests, &mut |event| match event {
            Event::Text { request, sample, piece } => pieces[request][sample].push_str(piece),
            Event::Done { request, sample, .. } => ends[request][sample] += 1,
        })
        .unwrap();
    assert!(ends.iter().flatten().all(|&count| count == 1), "{ends:?}");
    for (answers, pieces) in answers.iter().zip(&pieces) {
        for (answer, piece) in answers.iter().zip(pieces) {
            assert_eq!(&answer.text, piece);
        }
    }
}
