//! `lyceum bench`: how fast the hot paths are on this machine.
//!
//! Each round prints one JSON line, so that a driver can take turns with other programs: see `benches/peers`.

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result};
use lyceum_engine::{Model, ModelRequest, Request, Sampling, Stop};
use lyceum_kernels::{HugeVec, Mat, Packed, Pool, Precision, gemm_packed, peak_gflops, squared_norm};
use lyceum_nn::decoder::{Options, Training};
use lyceum_nn::lora::LoraConfig;
use lyceum_nn::policy::{Batch, Policy};
use lyceum_rl::credit::token_rewards;
use lyceum_rl::experience::Sequence;
use lyceum_rl::recipe::{OptimizerSpec, PolicySpec};
use lyceum_rl::update::{Group, Scored, update};
use lyceum_stats::{Draw, Purpose};
use rand::{Rng, SeedableRng};
use serde_json::json;

use crate::cli::{BenchArgs, BenchCase};
use crate::out;
use crate::session::Session;

/// Sequences and tokens of a training step.
const TRAINING: (usize, usize) = (8, 256);
/// Optimiser steps in a training round.
const STEPS: usize = 3;
/// Prompt tokens of a decoding round.
const PROMPT: usize = 64;
/// Ids below are control tokens.
const FIRST_ORDINARY: u32 = 17;

/// Measures one case, or the products when none is named.
pub fn run(session: &Session, arguments: &BenchArgs) -> Result<()> {
    let pool = session.pool()?;
    let Some(case) = arguments.case else { return overview(session, arguments, &pool) };
    match case {
        BenchCase::Gemm => gemm(session, arguments, &pool, None),
        BenchCase::Train => train(session, arguments, &pool, Training::Full, "train"),
        BenchCase::Lora => {
            train(session, arguments, &pool, Training::Lora(LoraConfig::all_linear(16)), "lora")
        }
        BenchCase::Decode => decode(session, arguments, &pool),
        BenchCase::Grpo => grpo(session, arguments, &pool),
    }
}

/// The machine's limits, and how near products, decoding and training come to them.
fn overview(session: &Session, arguments: &BenchArgs, pool: &Arc<Pool>) -> Result<()> {
    let peaks = [Precision::Bf16, Precision::F32].map(|precision| peak_gflops(pool, precision));
    let bandwidth = read_bandwidth(pool);
    if session.json {
        out!(
            "{}",
            json!({
                "case": "limits", "level": pool.level().to_string(), "threads": pool.threads(),
                "peak_gflops": {"bf16": peaks[0], "f32": peaks[1]}, "read_gb_per_s": bandwidth,
            })
        );
    } else {
        out!(
            "limits   {} threads, {}: {:.0} GFLOP/s bf16, {:.0} f32, {bandwidth:.1} GB/s read",
            pool.threads(),
            pool.level(),
            peaks[0],
            peaks[1]
        );
    }
    let peak = peaks[usize::from(Precision::from(arguments.precision) == Precision::F32)];
    gemm(session, arguments, pool, Some(peak))?;
    for batch in [1, 16, 64] {
        decode(session, &BenchArgs { batch: Some(batch), rounds: 1, ..arguments.clone() }, pool)?;
    }
    train(session, &BenchArgs { rounds: 1, ..arguments.clone() }, pool, Training::Full, "train")
}

/// Bytes a second that all threads together read from memory, in GB/s: the best of several passes over 512 MiB.
fn read_bandwidth(pool: &Pool) -> f64 {
    let values = HugeVec::<f32>::from_slice(&vec![1.0; 128 << 20]);
    let pass = |_| {
        let begin = Instant::now();
        std::hint::black_box(squared_norm(pool, &values));
        size_of_val(&*values) as f64 / begin.elapsed().as_secs_f64() / 1e9
    };
    (0..3).map(pass).fold(0.0, f64::max)
}

fn load(session: &Session, arguments: &BenchArgs, pool: &Arc<Pool>, training: Training) -> Result<Model> {
    let options = Options { precision: arguments.precision.into(), training, ..Options::default() };
    let request =
        ModelRequest { name: arguments.model.clone(), adapter: None, options, preset_context: 2048 };
    Ok(Model::load(request, Arc::clone(pool), &session.downloads())?)
}

fn train(
    session: &Session,
    arguments: &BenchArgs,
    pool: &Arc<Pool>,
    training: Training,
    case: &str,
) -> Result<()> {
    let mut model = load(session, arguments, pool, training)?;
    let (sequences, length) = TRAINING;
    let ids = random_rows(sequences, length, model.policy.config().vocab_size);
    let rows: Vec<&[u32]> = ids.iter().map(Vec::as_slice).collect();
    let batch = Batch::of_sequences(&rows);
    let weights = vec![1.0 / batch.targets.len() as f32; batch.targets.len()];
    let adamw = OptimizerSpec::default().adamw();
    let mut step = || -> Result<()> {
        model.policy.zero_grad();
        model.policy.weighted_likelihood(&batch, &weights)?;
        model.policy.step(&adamw, 1e-6, Some(1.0))?;
        Ok(())
    };
    step()?;
    for round in 0..arguments.rounds {
        let begin = Instant::now();
        for _ in 0..STEPS {
            step()?;
        }
        report(session, case, round, begin.elapsed().as_secs_f64(), STEPS * sequences * length, json!({}));
    }
    Ok(())
}

fn decode(session: &Session, arguments: &BenchArgs, pool: &Arc<Pool>) -> Result<()> {
    let model = load(session, arguments, pool, Training::Frozen)?;
    let (batch, new) = (arguments.batch.unwrap_or(1), arguments.new_tokens.unwrap_or(64));
    let prompts = random_rows(batch, PROMPT, model.policy.config().vocab_size);
    let prefill = requests(&prompts, 1, 1, &Sampling::greedy());
    let whole = requests(&prompts, 1, new + 1, &Sampling::greedy());
    let generator = model.generator(batch);
    let timed = |requests: &[Request]| -> Result<f64> {
        let begin = Instant::now();
        generator.generate(requests, &mut |_| {})?;
        Ok(begin.elapsed().as_secs_f64())
    };
    timed(&requests(&prompts, 1, 4, &Sampling::greedy()))?;
    for round in 0..arguments.rounds {
        let first = timed(&prefill)?;
        let seconds = timed(&whole)? - first;
        let more = json!({"batch": batch, "prefill_seconds": first});
        report(session, "decode", round, seconds, batch * new, more);
    }
    Ok(())
}

/// A whole step of GRPO: generate, reward, advantages, one update of all parameters. The reward is the share of even
/// token ids, which costs nothing and differs within a group.
fn grpo(session: &Session, arguments: &BenchArgs, pool: &Arc<Pool>) -> Result<()> {
    let mut model = load(session, arguments, pool, Training::Full)?;
    let count = arguments.prompts.or(arguments.batch).unwrap_or(4);
    let (samples, new) = (arguments.samples.unwrap_or(8), arguments.new_tokens.unwrap_or(64));
    let prompts = grpo_prompts(count)?;
    let prompt_tokens: usize = prompts.iter().map(Vec::len).sum::<usize>() * samples;
    let spec = PolicySpec { prompts: count, samples, max_new_tokens: new, ..PolicySpec::default() };
    let optimizer = OptimizerSpec { learning_rate: 1e-6, ..OptimizerSpec::default() };
    let mut step = |round: u64| -> Result<()> {
        let requests = requests(&prompts, samples, new, &Sampling::default());
        let answers = model.generator(64).generate(&requests, &mut |_| {})?;
        let groups: Vec<Group> = prompts
            .iter()
            .zip(answers)
            .map(|(prompt, answers)| {
                let scored = answers.into_iter().map(|answer| {
                    let even = answer.ids.iter().filter(|id| *id % 2 == 0).count();
                    let reward = even as f32 / answer.ids.len().max(1) as f32;
                    let trained: Vec<u32> =
                        (prompt.len()..prompt.len() + answer.ids.len()).map(|at| at as u32).collect();
                    let rewards = token_rewards(trained.len(), &[], &[], reward);
                    let ids = [prompt.as_slice(), &answer.ids].concat();
                    Scored {
                        sequence: Sequence { ids, trained, behaviour: answer.logp },
                        rewards,
                        ends: Vec::new(),
                        cut: false,
                    }
                });
                scored.collect()
            })
            .collect();
        let reference = |policy: &lyceum_nn::decoder::KernelPolicy, batch: &Batch| policy.evaluate(batch);
        update(&mut model.policy, &reference, &groups, &spec, &optimizer, round, 1_000)?;
        Ok(())
    };
    step(0)?;
    for round in 0..arguments.rounds {
        let begin = Instant::now();
        step(round as u64 + 1)?;
        let tokens = count * samples * new;
        report(
            session,
            "grpo",
            round,
            begin.elapsed().as_secs_f64(),
            tokens,
            json!({"prompt_tokens": prompt_tokens}),
        );
    }
    Ok(())
}

fn gemm(session: &Session, arguments: &BenchArgs, pool: &Pool, peak: Option<f64>) -> Result<()> {
    let precision = Precision::from(arguments.precision);
    for (m, n, k) in
        [(2048, 1536, 576), (2048, 576, 1536), (2048, 49152, 576), (16, 1536, 576), (1, 1536, 576)]
    {
        let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(1);
        let mut draw =
            |count: usize| -> Vec<f32> { (0..count).map(|_| random.random_range(-1.0..1.0)).collect() };
        let (x, w) = (draw(m * k), draw(n * k));
        let packed = Packed::pack(pool, precision, Mat::f32(&w, n, k));
        let mut out = vec![0.0; m * n];
        let operations = 2.0 * m as f64 * n as f64 * k as f64;
        // Enough repetitions for some tens of milliseconds.
        let repeat = (2e10 / operations).ceil().clamp(1.0, 20_000.0) as usize;
        let mut work = || gemm_packed(pool, Mat::f32(&x, m, k), &packed, &mut out, n, false);
        work();
        for round in 0..arguments.rounds {
            let begin = Instant::now();
            for _ in 0..repeat {
                work();
            }
            let seconds = begin.elapsed().as_secs_f64() / repeat as f64;
            let gflops = operations / seconds / 1e9;
            let share = peak.map(|peak| gflops / peak);
            let more = json!({"shape": [m, n, k], "gflops": gflops, "share_of_peak": share});
            report(session, "gemm", round, seconds, 0, more);
        }
    }
    Ok(())
}

fn requests(prompts: &[Vec<u32>], samples: usize, new: usize, sampling: &Sampling) -> Vec<Request> {
    let request = |(prompt, ids): (usize, &Vec<u32>)| Request {
        prompt: ids.clone(),
        samples: (0..samples as u64)
            .map(|s| Draw { prompt: prompt as u64, sample: s, ..Draw::default() })
            .collect(),
        purpose: Purpose::Tokens,
        sampling: sampling.clone(),
        // No stop token: every side of a comparison makes the same number of tokens.
        stop: Stop { tokens: Vec::new(), strings: Vec::new(), max_new_tokens: new },
        choices: None,
        drawn: 0,
    };
    prompts.iter().enumerate().map(request).collect()
}

fn random_rows(rows: usize, columns: usize, vocabulary: usize) -> Vec<Vec<u32>> {
    let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(1);
    let lowest = FIRST_ORDINARY.min(vocabulary as u32 - 1);
    (0..rows)
        .map(|_| (0..columns).map(|_| random.random_range(lowest..vocabulary as u32)).collect())
        .collect()
}

/// The prompts that all sides share, from the peers' folder of the repository.
fn grpo_prompts(count: usize) -> Result<Vec<Vec<u32>>> {
    #[derive(serde::Deserialize)]
    struct Prompt {
        ids: Vec<u32>,
    }
    #[derive(serde::Deserialize)]
    struct File {
        prompts: Vec<Prompt>,
    }
    let file: File = serde_json::from_str(include_str!("../../../../benches/peers/prompts.json"))
        .context("benches/peers/prompts.json")?;
    anyhow::ensure!(count <= file.prompts.len(), "there are {} prompts, {count} wanted", file.prompts.len());
    Ok(file.prompts.into_iter().take(count).map(|prompt| prompt.ids).collect())
}

fn report(session: &Session, case: &str, round: usize, seconds: f64, tokens: usize, more: serde_json::Value) {
    let peak = peak_memory();
    if session.json {
        let mut line = json!({
            "case": case, "round": round, "seconds": seconds, "tokens": tokens, "peak_rss_bytes": peak,
        });
        if let (Some(line), serde_json::Value::Object(more)) = (line.as_object_mut(), more) {
            line.extend(more);
        }
        out!("{line}");
        return;
    }
    let memory = peak as f64 / 1e9;
    match (more.get("shape"), more.get("gflops").and_then(serde_json::Value::as_f64)) {
        (Some(shape), Some(gflops)) => {
            let share = more.get("share_of_peak").and_then(serde_json::Value::as_f64);
            let share = share.map_or(String::new(), |share| format!("  {:3.0} % of the peak", 100.0 * share));
            out!("{case:<8} {:<20} {gflops:8.1} GFLOP/s{share}", shape.to_string());
        }
        _ => {
            let batch = more.get("batch").map_or(String::new(), |batch| format!("batch {batch}"));
            let rate = tokens as f64 / seconds;
            out!("{case:<8} {batch:<20} {rate:8.1} tokens/s  {seconds:7.2} s  {memory:5.2} GB");
        }
    }
}

/// The most memory this process has held, in bytes; 0 where the system does not say.
pub fn peak_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) * 1024
}
