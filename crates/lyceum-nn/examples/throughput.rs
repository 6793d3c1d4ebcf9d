//! Tokens a second in training and decoding of a model of SmolLM2-135M's shape with random weights.
//!
//! `cargo run --release -p lyceum-nn --example throughput -- [full|lora|checkpoint|decode|tiny] [f32|bf16] [single]`

use lyceum_kernels::{Pool, Precision};
use lyceum_nn::config::{DecoderConfig, Family};
use lyceum_nn::decoder::{KernelPolicy, Options, RowInput, Slot, Training};
use lyceum_nn::lora::LoraConfig;
use lyceum_nn::optimizer::AdamW;
use lyceum_nn::policy::{Batch, Policy};
use lyceum_nn::presets::tiny_1m;
use std::error::Error;
use std::sync::Arc;
use std::time::Instant;

fn smollm2_135m() -> DecoderConfig {
    DecoderConfig {
        family: Family::Llama,
        vocab_size: 49152,
        hidden_size: 576,
        intermediate_size: 1536,
        num_layers: 30,
        num_heads: 9,
        num_kv_heads: 3,
        head_dim: 64,
        tied_embeddings: true,
        rms_norm_eps: 1e-5,
        rope_theta: 100_000.0,
        rope_scaling: None,
        max_positions: 8192,
        bos: None,
        eos: Vec::new(),
        pad: None,
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let mode = arguments.first().map_or("full", String::as_str);
    let precision = if arguments.iter().any(|word| word == "f32") { Precision::F32 } else { Precision::Bf16 };
    let training = match mode {
        "lora" => Training::Lora(LoraConfig::all_linear(16)),
        "decode" => Training::Frozen,
        _ => Training::Full,
    };
    let options = Options { precision, training, checkpointing: mode == "checkpoint", ..Options::default() };
    let threads = if arguments.iter().any(|word| word == "single") { 1 } else { 2 };
    let pool = Arc::new(Pool::new(threads));
    let (config, sequences) = if mode == "tiny" { (tiny_1m(256), 32) } else { (smollm2_135m(), 8) };
    let parameters = config.parameter_count() as f64;
    let start = Instant::now();
    let policy = KernelPolicy::random(config, options, pool, 1)?;
    println!("{mode} {precision:?}: {:.1} M weights, ready after {:.1?}", parameters / 1e6, start.elapsed());
    if mode == "decode" { decode(&policy, parameters) } else { train(policy, sequences, parameters) }
}

fn train(mut policy: KernelPolicy, sequences: usize, parameters: f64) -> Result<(), Box<dyn Error>> {
    let vocab = policy.config().vocab_size as u32;
    let tokens: Vec<Vec<u32>> =
        (0..sequences as u32).map(|s| (0..256).map(|i| (s * 7919 + i * 104_729) % vocab).collect()).collect();
    let batch = Batch::of_sequences(&tokens.iter().map(Vec::as_slice).collect::<Vec<_>>());
    let weights = vec![1.0 / batch.targets.len() as f32; batch.targets.len()];
    for round in 0..4 {
        let (start, busy) = (Instant::now(), processor_seconds()?);
        policy.zero_grad();
        policy.weighted_likelihood(&batch, &weights)?;
        let gradient = start.elapsed();
        policy.step(&AdamW::default(), 1e-4, Some(1.0))?;
        let whole = start.elapsed();
        let rate = batch.rows() as f64 / whole.as_secs_f64();
        println!(
            "round {round}: gradient {gradient:.3?}, step {:.3?}, {rate:.0} tok/s, {:.0} GFLOP/s, {:.2} s of processor time, peak {:.2} GB",
            whole - gradient,
            6e-9 * parameters * rate,
            processor_seconds()? - busy,
            peak_memory()?
        );
    }
    Ok(())
}

fn decode(policy: &KernelPolicy, parameters: f64) -> Result<(), Box<dyn Error>> {
    let decoder = policy.decoder();
    let prompt: Vec<u32> = (0..64).collect();
    for batch in [1, 16, 64] {
        let mut cache = decoder.cache();
        let mut logits = Vec::new();
        let parent = cache.allocate();
        let start = Instant::now();
        decoder.prefill(&mut cache, &[(parent, prompt.as_slice())], &mut logits)?;
        let prefill = start.elapsed();
        let slots: Vec<Slot> = (0..batch).map(|_| cache.fork(parent)).collect();
        let wanted: Vec<usize> = (0..batch).collect();
        let (start, busy) = (Instant::now(), processor_seconds()?);
        for token in 0..64 {
            let rows: Vec<RowInput> = slots.iter().map(|&slot| RowInput { token, slot }).collect();
            decoder.extend(&mut cache, &rows, &wanted, &mut logits)?;
        }
        let rate = 64.0 * batch as f64 / start.elapsed().as_secs_f64();
        println!(
            "batch {batch}: prefill of 64 {prefill:.3?}, {rate:.0} tok/s, {:.0} GFLOP/s, {:.1} GB/s, {:.2} s of processor time",
            2e-9 * parameters * rate,
            2e-9 * parameters * rate / batch as f64,
            processor_seconds()? - busy
        );
    }
    println!("peak {:.2} GB", peak_memory()?);
    Ok(())
}

/// What this process has used of the processors: on a busy machine a better measure than the clock.
fn processor_seconds() -> Result<f64, Box<dyn Error>> {
    const TICKS_A_SECOND: f64 = 100.0;
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let (_, fields) = stat.rsplit_once(')').ok_or("no name in /proc/self/stat")?;
    let ticks = fields.split_whitespace().skip(11).take(2).map(str::parse::<f64>);
    Ok(ticks.sum::<Result<f64, _>>()? / TICKS_A_SECOND)
}

/// The most memory this process has held, in GB.
fn peak_memory() -> Result<f64, Box<dyn Error>> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line =
        status.lines().find(|line| line.starts_with("VmHWM")).ok_or("no VmHWM in /proc/self/status")?;
    let kilobytes: f64 = line.split_whitespace().nth(1).ok_or("VmHWM without a number")?.parse()?;
    Ok(kilobytes * 1024.0 / 1e9)
}
