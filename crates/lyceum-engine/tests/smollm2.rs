//! SmolLM2 against PyTorch and transformers, by golden files (parity/README.md). Needs the model, which it fetches.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::needless_pass_by_value,
    reason = "a test fails by panicking"
)]

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lyceum_engine::{Finish, Model, ModelRequest, Request, Sampling, Stop};
use lyceum_hub::Silent;
use lyceum_kernels::{Pool, Precision};
use lyceum_nn::decoder::{Options, Training};
use lyceum_nn::policy::{Batch, Policy, Segment, TokenGrads};
use lyceum_stats::{Draw, Purpose};
use lyceum_text::{Message, RenderOptions, SpecialTokens};
use safetensors::SafeTensors;
use serde_json::Value;

const NAME: &str = "smollm2-135m-instruct-q4_1";

/// The model is large: one test at a time.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn load(options: Options) -> Model {
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
    let request = ModelRequest { name: NAME.into(), adapter: None, options, preset_context: 0 };
    Model::load(request, Arc::new(Pool::new(threads)), &Silent).unwrap()
}

fn frozen() -> Model {
    load(Options { precision: Precision::F32, training: Training::Frozen, ..Options::default() })
}

fn golden(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../parity/golden").join(name)
}

fn document(name: &str) -> Value {
    serde_json::from_slice(&std::fs::read(golden(name)).unwrap()).unwrap()
}

fn ids(value: &Value) -> Vec<u32> {
    value.as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect()
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect()
}

#[test]
#[ignore = "needs_model: pulls SmolLM2"]
fn needs_model_greedy_tokens_and_logits_equal_pytorchs() {
    let _alone = alone();
    let document = document("smollm2-greedy.json");
    let cases = document["cases"].as_array().unwrap();
    assert!(cases.len() >= 20);
    let model = frozen();
    let eos = document["eos"].as_u64().unwrap() as u32;
    let request = |(number, case): (usize, &Value)| Request {
        prompt: model.codec.prompt(&[Message::new("user", case["prompt"].as_str().unwrap())]).unwrap(),
        samples: vec![Draw { prompt: number as u64, ..Draw::default() }],
        purpose: Purpose::Evaluation,
        sampling: Sampling::greedy(),
        stop: Stop { tokens: vec![eos], strings: Vec::new(), max_new_tokens: 32 },
        choices: None,
        drawn: 0,
    };
    let requests: Vec<Request> = cases.iter().enumerate().map(request).collect();
    for (request, case) in requests.iter().zip(cases) {
        assert_eq!(request.prompt, ids(&case["prompt_ids"]), "{}", case["prompt"]);
    }
    for (answers, case) in model.generator(16).generate(&requests, &mut |_| {}).unwrap().iter().zip(cases) {
        assert_eq!(answers[0].ids, ids(&case["tokens"]), "{}", case["prompt"]);
        let finish = if case["finish"] == "eos" { Finish::Stop } else { Finish::Length };
        assert_eq!(answers[0].finish, finish);
    }

    let positions = ids(&document["vocabulary_positions"]);
    let decoder = model.policy.decoder();
    let mut worst = 0.0f64;
    for (request, case) in requests.iter().zip(cases) {
        let mut cache = decoder.cache();
        let slot = cache.allocate();
        let mut logits = Vec::new();
        decoder.prefill(&mut cache, &[(slot, request.prompt.as_slice())], &mut logits).unwrap();
        let mut compare = |found: f64, expected: f64| worst = worst.max((found - expected).abs());
        for (&position, expected) in positions.iter().zip(numbers(&case["first_logits"])) {
            compare(f64::from(logits[position as usize]), expected);
        }
        for pair in case["first_top"].as_array().unwrap() {
            compare(f64::from(logits[pair[0].as_u64().unwrap() as usize]), pair[1].as_f64().unwrap());
        }
        let sum: f64 = logits.iter().map(|&z| f64::from(z).exp()).sum();
        compare(sum.ln(), case["first_logsumexp"].as_f64().unwrap());
    }
    println!("{} prompts; the worst logit is {worst:.1e} off", cases.len());
    assert!(worst < 1e-3, "{worst:e}");
}

#[test]
#[ignore = "needs_model: pulls SmolLM2"]
fn needs_model_tokenizer_and_chat_template_equal_transformers() {
    let _alone = alone();
    let document = document("smollm2-tokenizer.json");
    let model = frozen();
    let tokenizer = model.codec.tokenizer();
    for case in document["strings"].as_array().unwrap() {
        let text = case["text"].as_str().unwrap();
        let expected = ids(&case["ids"]);
        assert_eq!(tokenizer.encode(text).unwrap(), expected, "{text:?}");
        assert_eq!(tokenizer.decode(&expected, SpecialTokens::Keep).unwrap(), case["decoded"], "{text:?}");
        let skipped = tokenizer.decode(&expected, SpecialTokens::Skip).unwrap();
        assert_eq!(skipped, case["decoded_skip_special"], "{text:?}");
    }
    let template = tokenizer.chat_template().unwrap();
    for case in document["chats"].as_array().unwrap() {
        let messages: Vec<Message> = serde_json::from_value(case["messages"].clone()).unwrap();
        let add_generation_prompt = case["add_generation_prompt"].as_bool().unwrap();
        let options = RenderOptions { add_generation_prompt, ..RenderOptions::default() };
        let text = template.render(&messages, &options).unwrap();
        assert_eq!(text, case["text"], "{messages:?}");
        assert_eq!(tokenizer.encode(&text).unwrap(), ids(&case["ids"]), "{messages:?}");
        if add_generation_prompt {
            assert_eq!(model.codec.prompt(&messages).unwrap(), ids(&case["ids"]));
        }
    }
}

/// The golden batch: loss and log-probabilities by PyTorch in f32.
struct Question {
    document: Value,
    sequences: Vec<Vec<u32>>,
    samples: Vec<u8>,
}

/// What a policy answered.
struct Answer {
    loss: f64,
    logp: Vec<f32>,
    gradient: Vec<(String, Vec<f32>)>,
}

impl Question {
    fn read() -> Self {
        let document = document("smollm2-gradient.json");
        let sequences = document["ids"].as_array().unwrap().iter().map(ids).collect();
        Self { document, sequences, samples: std::fs::read(golden("smollm2-gradient.safetensors")).unwrap() }
    }

    fn packed(&self) -> Batch {
        Batch::of_sequences(&self.sequences.iter().map(Vec::as_slice).collect::<Vec<_>>())
    }

    /// The same rows and targets, each sequence cut in two: a prefix and what continues it.
    fn with_prefixes(&self) -> Batch {
        let mut batch = self.packed();
        let whole = std::mem::take(&mut batch.segments);
        for Segment { start, len, .. } in whole {
            let parent = batch.segments.len();
            let prefix = 1 + len / 3;
            batch.segments.push(Segment { start, len: prefix, parent: None });
            batch.segments.push(Segment { start: start + prefix, len: len - prefix, parent: Some(parent) });
        }
        batch
    }

    fn targets(&self) -> usize {
        self.sequences.iter().map(|s| s.len() - 1).sum()
    }

    /// Loss and gradient of the mean over all targets, accumulated over batches.
    fn ask(&self, options: Options, batches: &[Batch], fused: bool) -> Answer {
        let mut model = load(options);
        let weight = 1.0 / self.targets() as f32;
        model.policy.zero_grad();
        let mut logp = Vec::new();
        for batch in batches {
            let targets = batch.targets.len();
            let stats = if fused {
                model.policy.weighted_likelihood(batch, &vec![weight; targets]).unwrap()
            } else {
                let stats = model.policy.logprobs(batch).unwrap();
                model
                    .policy
                    .backward(&TokenGrads { logp: vec![-weight; targets], ..TokenGrads::default() })
                    .unwrap();
                stats
            };
            logp.extend(stats.logp);
        }
        let loss = -logp.iter().map(|&x| f64::from(x)).sum::<f64>() / logp.len() as f64;
        let gradient = model.policy.named_gradients();
        let gradient = gradient.into_iter().map(|t| (t.name.to_owned(), t.data.to_vec())).collect();
        Answer { loss, logp, gradient }
    }

    /// Checks an f32 answer against PyTorch's.
    fn check(&self, answer: &Answer, what: &str) {
        let expected = self.document["loss"].as_f64().unwrap();
        assert!((answer.loss - expected).abs() < 1e-4, "{what}: loss {} for {expected}", answer.loss);
        let expected: Vec<f64> = self.document["logp"].as_array().unwrap().iter().flat_map(numbers).collect();
        assert_eq!(answer.logp.len(), expected.len());
        let apart =
            answer.logp.iter().zip(&expected).map(|(&a, b)| (f64::from(a) - b).abs()).fold(0.0, f64::max);
        assert!(apart < 1e-3, "{what}: a log-probability is {apart:e} off");

        let samples = SafeTensors::deserialize(&self.samples).unwrap();
        let tensors = self.document["tensors"].as_array().unwrap();
        assert_eq!(tensors.len(), answer.gradient.len());
        let (mut worst, mut strict) = ([(0.0f64, ""); 3], 0);
        for tensor in tensors {
            let name = tensor["name"].as_str().unwrap();
            let rms = tensor["rms"].as_f64().unwrap();
            let (_, found) = answer.gradient.iter().find(|(other, _)| other == name).unwrap();
            let sampled = |kind: &str| -> Vec<[u8; 4]> {
                samples.tensor(&format!("{kind}.{name}")).unwrap().data().as_chunks::<4>().0.to_vec()
            };
            let floats = |kind: &str| sampled(kind).into_iter().map(|b| f64::from(f32::from_le_bytes(b)));
            let own = sampled("index").into_iter().map(|b| f64::from(found[u32::from_le_bytes(b) as usize]));
            // (ours from PyTorch's f32, ours from its f64, its f32 from its f64), the worst of the sampled elements.
            let off = own.zip(floats("value")).zip(floats("exact")).fold(
                [0.0f64; 3],
                |worst, ((own, f32), f64)| {
                    let scale = f64.abs().max(rms);
                    let off = [own - f32, own - f64, f32 - f64].map(|d| d.abs() / scale);
                    [0, 1, 2].map(|i| if off[i].is_nan() { f64::INFINITY } else { worst[i].max(off[i]) })
                },
            );
            strict += usize::from(off[0] <= 1e-3);
            (0..3).for_each(|i| worst[i] = if off[i] > worst[i].0 { (off[i], name) } else { worst[i] });
        }
        println!(
            "{what}: loss {:.6}, log-probabilities {apart:.1e} off; gradient: {strict} of {} tensors within 1e-3 of PyTorch's f32\n  \
             worst from f32 {:?}, from f64 {:?}; PyTorch's f32 from its f64 {:?}",
            answer.loss,
            tensors.len(),
            worst[0],
            worst[1],
            worst[2]
        );
        // Where f32 itself is coarser than the bar, no further from the truth than PyTorch's f32 is at its worst.
        let (from_f32, from_f64, floor) = (worst[0].0, worst[1].0, worst[2].0);
        assert!(from_f32 <= 1e-3 || from_f64 <= 1.1 * floor, "{what}: {} is {from_f32:e} off", worst[0].1);
        assert!(strict + 2 >= tensors.len(), "{what}: only {strict} tensors within 1e-3");
    }
}

fn f32_options() -> Options {
    Options { precision: Precision::F32, ..Options::default() }
}

#[test]
#[ignore = "needs_model: pulls SmolLM2"]
fn needs_model_loss_and_gradient_equal_pytorchs_in_f32() {
    let _alone = alone();
    let question = Question::read();
    let packed = [question.packed()];
    let apart: Vec<Batch> = question.sequences.iter().map(|s| Batch::of_sequences(&[s])).collect();
    let small = Options { checkpointing: true, head_chunk: 37, kept_logits: 0, ..f32_options() };
    question.check(&question.ask(f32_options(), &packed, true), "packed, fused");
    question.check(&question.ask(f32_options(), &apart, false), "one sequence at a time");
    question.check(
        &question.ask(small, &[question.with_prefixes()], false),
        "prefixes, checkpointing, small chunks",
    );
}

/// Error of the bf16 gradient against our own f32 one (which equals PyTorch's), beside that of PyTorch's autocast.
#[test]
#[ignore = "needs_model: pulls SmolLM2"]
fn needs_model_bf16_gradient_is_as_good_as_pytorchs_autocast() {
    let _alone = alone();
    let question = Question::read();
    let reference = question.ask(f32_options(), &[question.packed()], true);
    for (what, checkpointing, batch) in
        [("packed", false, question.packed()), ("prefixes, checkpointing", true, question.with_prefixes())]
    {
        let answer = question.ask(Options { checkpointing, ..Options::default() }, &[batch], checkpointing);
        let expected = question.document["loss"].as_f64().unwrap();
        let autocast = question.document["loss_bf16_autocast"].as_f64().unwrap();
        println!("{what}: loss {:.6}; f32 {expected:.6}, autocast {autocast:.6}", answer.loss);
        assert!((answer.loss - expected).abs() < 0.01);
        let (mut worst_ratio, mut lowest_cosine, mut misses) = ((0.0f64, ""), (1.0f64, ""), Vec::new());
        let mut ratios = Vec::new();
        for tensor in question.document["tensors"].as_array().unwrap() {
            let name = tensor["name"].as_str().unwrap();
            let of = |answer: &Answer| answer.gradient.iter().position(|(other, _)| other == name).unwrap();
            let (a, b) = (&reference.gradient[of(&reference)].1, &answer.gradient[of(&answer)].1);
            let sum = |f: &dyn Fn(f64, f64) -> f64| -> f64 {
                a.iter().zip(b).map(|(&x, &y)| f(f64::from(x), f64::from(y))).sum()
            };
            let error = (sum(&|x, y| (x - y) * (x - y)) / a.len() as f64).sqrt();
            let cosine = sum(&|x, y| x * y) / (sum(&|x, _| x * x) * sum(&|_, y| y * y)).sqrt();
            let (their_error, their_cosine) =
                (tensor["bf16_error_rms"].as_f64().unwrap(), tensor["bf16_cosine"].as_f64().unwrap());
            let ratio = error / their_error;
            ratios.push(ratio);
            if ratio > worst_ratio.0 {
                worst_ratio = (ratio, name);
            }
            if cosine < lowest_cosine.0 {
                lowest_cosine = (cosine, name);
            }
            // Where PyTorch's own is below 0.999 the bound is PyTorch's.
            if ratio > 1.5 || cosine < their_cosine.min(0.999) {
                misses.push(format!(
                    "{name}: error {ratio:.2}x, cosine {cosine:.6} (PyTorch {their_cosine:.6})"
                ));
            }
        }
        ratios.sort_by(f64::total_cmp);
        println!(
            "{what}: error over autocast's: median {:.2}, worst {worst_ratio:?}; lowest cosine {lowest_cosine:?}",
            ratios[ratios.len() / 2]
        );
        println!("{what}: over the bar\n{}", misses.join("\n"));
        // A norm's gradient is one large element and many small ones, so its error is one draw from a wide distribution:
        // layer 24's first norm is known to miss. One tensor in forty may.
        assert!(misses.len() <= 6 && ratios[ratios.len() / 2] < 0.8, "{what}: {} tensors", misses.len());
    }
}
