//! Row operations and attention at the sizes of SmolLM2-135M (9 query and 3 key-value heads of 64, hidden 576, feed-forward 1536, vocabulary
//! 49152): bytes a second to hold against `memory`, floating-point operations a second for attention (as elements).
//!
//! `cargo bench -p lyceum-kernels --bench rowops -- attention`; threads by `LYCEUM_THREADS` (2), level by `LYCEUM_LEVEL` (the best).

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use lyceum_kernels::{
    AdamWStep, HeadSpan, Heads, HugeVec, KvRows, KvSpan, Level, Pool, RopeTable, Rotation, Segment, adamw,
    add_rms_norm, add_scaled, attention_backward, attention_cached, attention_forward, bf16,
    embedding_scatter_add, logit_gradient, logit_statistics, rms_norm, rms_norm_backward, rope, squared_norm,
    swiglu, swiglu_backward,
};

const HEADS: Heads = Heads { query: 9, kv: 3, dim: 64 };
const ROWS: usize = 2048;
const HIDDEN: usize = 576;
const FEED: usize = 1536;
const VOCABULARY: usize = 49152;
/// Elements of a buffer that no cache holds.
const LARGE: usize = 32 << 20;

fn pool() -> Pool {
    let threads = std::env::var("LYCEUM_THREADS").ok().and_then(|threads| threads.parse().ok()).unwrap_or(2);
    let level =
        std::env::var("LYCEUM_LEVEL").ok().and_then(|level| level.parse().ok()).unwrap_or(Level::detect());
    Pool::with_level(threads, level)
}

fn noise(len: usize) -> HugeVec<f32> {
    let mut noise = HugeVec::zeroed(len);
    let mut state = 1_u32;
    for x in noise.iter_mut() {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        *x = (state >> 8) as f32 / (1 << 23) as f32 - 1.0;
    }
    noise
}

fn measure(c: &mut Criterion, name: &str, throughput: Throughput, mut f: impl FnMut(&Pool)) {
    let pool = pool();
    let mut group = c.benchmark_group("rowops");
    group.sample_size(20).warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1));
    group.throughput(throughput);
    group.bench_function(name, |b| b.iter(|| f(&pool)));
    group.finish();
}

/// Bytes of so many f32 elements.
fn floats(elements: usize) -> Throughput {
    Throughput::Bytes(4 * elements as u64)
}

fn memory(c: &mut Criterion) {
    let (x, mut y) = (noise(LARGE), noise(LARGE));
    measure(c, "memory/read", floats(LARGE), |pool| {
        black_box(squared_norm(pool, &x));
    });
    measure(c, "memory/two reads, one write", floats(3 * LARGE), |pool| add_scaled(pool, 1e-9, &x, &mut y));
}

fn attention(c: &mut Criterion) {
    let alone = |len: usize| (0..ROWS / len).map(|i| Segment { start: i * len, len, parent: None }).collect();
    let mut shared = vec![Segment { start: 0, len: 64, parent: None }];
    shared.extend((0..8).map(|i| Segment { start: 64 + i * 128, len: 128, parent: Some(0) }));
    let batches: [(&str, Vec<Segment>); 3] =
        [("8x256", alone(256)), ("1x2048", alone(2048)), ("64 shared by 8x128", shared)];
    for (name, segments) in batches {
        let rows: usize = segments.iter().map(|segment| segment.len).sum();
        let shared = |segment: &Segment| segment.parent.map_or(0, |parent| segments[parent].len);
        let pairs: usize = segments.iter().map(|s| s.len * (s.len + 1) / 2 + s.len * shared(s)).sum();
        let product = (2 * pairs * HEADS.query * HEADS.dim) as u64;
        let (qkv, d_out) = (noise(rows * HEADS.qkv_width()), noise(rows * HEADS.query_width()));
        let (mut out, mut lse) = (noise(rows * HEADS.query_width()), noise(rows * HEADS.query));
        let mut d_qkv = noise(qkv.len());
        measure(c, &format!("attention/{name} forward"), Throughput::Elements(2 * product), |pool| {
            attention_forward(pool, HEADS, &segments, &qkv, &mut out, &mut lse);
        });
        measure(c, &format!("attention/{name} backward"), Throughput::Elements(5 * product), |pool| {
            attention_backward(pool, HEADS, &segments, &qkv, &out, &lse, &d_out, &mut d_qkv);
        });
    }
}

/// One token for each of some sequences, over as many layers as leave nothing in the caches from one step to the next.
fn cached(c: &mut Criterion) {
    const LAYERS: usize = 8;
    const CONTEXT: usize = 256;
    for rows in [1, 16, 64] {
        let size = CONTEXT * HEADS.kv_width();
        let mut cache = HugeVec::<bf16>::zeroed(2 * LAYERS * rows * size);
        cache.iter_mut().zip(noise(LARGE).iter().cycle()).for_each(|(to, &from)| *to = bf16::from_f32(from));
        let pairs = cache.chunks_exact(2 * size).map(|pair| pair.split_at(size));
        let spans = pairs.map(|(keys, values)| {
            [KvSpan { keys: KvRows::Bf16(keys), values: KvRows::Bf16(values), len: CONTEXT }]
        });
        let spans: Vec<_> = spans.collect();
        let queries = noise(rows * HEADS.qkv_width());
        let mut out = noise(rows * HEADS.query_width());
        measure(
            c,
            &format!("cached/{rows} rows, 8 layers"),
            Throughput::Bytes(2 * cache.len() as u64),
            |pool| {
                for layer in spans.chunks_exact(rows) {
                    attention_cached(pool, HEADS, &queries, HEADS.qkv_width(), layer, &mut out);
                }
            },
        );
    }
}

fn layers(c: &mut Criterion) {
    let (x, d, weight) = (noise(ROWS * HIDDEN), noise(ROWS * HIDDEN), noise(HIDDEN));
    let (mut y, mut residual) = (noise(ROWS * HIDDEN), noise(ROWS * HIDDEN));
    let (mut inverse, mut d_weight) = (noise(ROWS), noise(HIDDEN));
    measure(c, "rms_norm/forward", floats(2 * x.len()), |pool| {
        rms_norm(pool, &x, &weight, 1e-5, &mut y, &mut inverse);
    });
    measure(c, "rms_norm/add and forward", floats(4 * x.len()), |pool| {
        add_rms_norm(pool, &mut residual, &d, &weight, 1e-5, &mut y, &mut inverse);
    });
    measure(c, "rms_norm/backward", floats(4 * x.len()), |pool| {
        rms_norm_backward(pool, &x, &weight, &inverse, &d, &mut y, &mut d_weight);
    });

    let (mut gate_up, mut product) = (noise(2 * ROWS * FEED), noise(ROWS * FEED));
    measure(c, "swiglu/forward", floats(3 * product.len()), |pool| {
        swiglu(pool, FEED, &gate_up, &mut product);
    });
    measure(c, "swiglu/backward", floats(5 * product.len()), |pool| {
        swiglu_backward(pool, FEED, &mut gate_up, &product);
    });

    let table = RopeTable::new(&noise(HEADS.dim / 2), ROWS);
    let positions: Vec<u32> = (0..ROWS as u32).map(|row| row % 256).collect();
    let span =
        HeadSpan { stride: HEADS.qkv_width(), offset: 0, heads: HEADS.query + HEADS.kv, dim: HEADS.dim };
    let mut qkv = noise(ROWS * HEADS.qkv_width());
    measure(c, "rope", floats(2 * ROWS * span.heads * span.dim), |pool| {
        rope(pool, span, &mut qkv, &positions, &table, Rotation::Forward);
    });

    let mut table = noise(VOCABULARY * HIDDEN);
    let ids: Vec<u32> = (0..ROWS as u32).map(|row| row * 7919 % VOCABULARY as u32).collect();
    measure(c, "embedding/scatter", floats(3 * x.len()), |pool| {
        embedding_scatter_add(pool, HIDDEN, &x, &ids, &mut table);
    });
}

fn head(c: &mut Criterion) {
    const CHUNK: usize = 256;
    let mut logits = noise(CHUNK * VOCABULARY);
    let targets = vec![7; CHUNK];
    let (mut lse, mut logp, mut entropy) = (noise(CHUNK), noise(CHUNK), noise(CHUNK));
    measure(c, "logits/statistics", floats(logits.len()), |pool| {
        logit_statistics(pool, &logits, 1.0, &targets, &mut lse, &mut logp, &mut entropy);
    });
    measure(c, "logits/gradient", floats(2 * logits.len()), |pool| {
        logit_gradient(pool, &mut logits, 1.0, &targets, &lse, &entropy, &logp, &[]);
    });
}

fn optimiser(c: &mut Criterion) {
    let (mut params, gradients) = (noise(LARGE), noise(LARGE));
    let (mut m, mut v) = (HugeVec::zeroed(LARGE), HugeVec::zeroed(LARGE));
    let settings = AdamWStep {
        learning_rate: 1e-4,
        beta1: 0.9,
        beta2: 0.99,
        eps: 1e-8,
        weight_decay: 0.01,
        gradient_scale: 1.0,
        step: 3,
    };
    measure(c, "adamw", floats(7 * LARGE), |pool| {
        adamw(pool, &settings, &mut params, &gradients, &mut m, &mut v, None);
    });
}

criterion_group!(benches, memory, attention, cached, layers, head, optimiser);
criterion_main!(benches);
