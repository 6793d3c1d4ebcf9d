use std::iter::successors;

use half::bf16;
use proptest::prelude::*;

use super::*;
use crate::testing::{assert_close, assert_gradient, cases, noise, pools, weigh, widen};
use crate::{Level, Pool};

/// Rows to which `row` attends, in the order of positions.
fn context(segments: &[Segment], row: usize) -> Vec<usize> {
    let own =
        segments.iter().find(|segment| (segment.start..segment.start + segment.len).contains(&row)).unwrap();
    let mut lineage: Vec<&Segment> =
        successors(own.parent, |&parent| segments[parent].parent).map(|p| &segments[p]).collect();
    lineage.reverse();
    let before = lineage.into_iter().flat_map(|segment| segment.start..segment.start + segment.len);
    before.chain(own.start..=row).collect()
}

/// The definition, in f64: outputs and logs of the sums of exponentials.
fn oracle(heads: Heads, segments: &[Segment], qkv: &[f64]) -> (Vec<f64>, Vec<f64>) {
    let (width, dim) = (heads.qkv_width(), heads.dim);
    let (mut outs, mut lses) = (Vec::new(), Vec::new());
    for row in 0..qkv.len() / width {
        let context = context(segments, row);
        for head in 0..heads.query {
            let at = |row: usize, head: usize| &qkv[row * width + head * dim..][..dim];
            let (key, value) =
                (heads.query + head / heads.group(), heads.query + heads.kv + head / heads.group());
            let dot =
                |&other: &usize| at(row, head).iter().zip(at(other, key)).map(|(x, y)| x * y).sum::<f64>();
            let scores: Vec<f64> = context.iter().map(|other| dot(other) / (dim as f64).sqrt()).collect();
            let greatest = scores.iter().copied().fold(f64::MIN, f64::max);
            let sum: f64 = scores.iter().map(|score| (score - greatest).exp()).sum();
            lses.push(greatest + sum.ln());
            outs.extend((0..dim).map(|i| {
                let weighted = context
                    .iter()
                    .zip(&scores)
                    .map(|(&other, score)| (score - greatest).exp() * at(other, value)[i]);
                weighted.sum::<f64>() / sum
            }));
        }
    }
    (outs, lses)
}

fn forward(pool: &Pool, heads: Heads, segments: &[Segment], qkv: &[f32]) -> (Vec<f32>, Vec<f32>) {
    let rows = qkv.len() / heads.qkv_width();
    let (mut out, mut lse) = (vec![f32::NAN; rows * heads.query_width()], vec![f32::NAN; rows * heads.query]);
    attention_forward(pool, heads, segments, qkv, &mut out, &mut lse);
    (out, lse)
}

fn gradient(pool: &Pool, heads: Heads, segments: &[Segment], qkv: &[f32], d_out: &[f32]) -> Vec<f32> {
    let (out, lse) = forward(pool, heads, segments, qkv);
    let mut d_qkv = vec![f32::NAN; qkv.len()];
    attention_backward(pool, heads, segments, qkv, &out, &lse, d_out, &mut d_qkv);
    d_qkv
}

/// Segments of the given lengths, each continuing one before it or none.
fn tree(parts: &[(usize, Option<usize>)]) -> Vec<Segment> {
    let mut start = 0;
    let place = |(index, &(len, parent)): (usize, &(usize, Option<usize>))| {
        start += len;
        Segment { start: start - len, len, parent: parent.filter(|_| index > 0).map(|parent| parent % index) }
    };
    parts.iter().enumerate().map(place).collect()
}

fn heads() -> impl Strategy<Value = Heads> {
    let dim = prop_oneof![Just(16_usize), Just(64), 1_usize..40];
    (1_usize..3, 1_usize..4, dim).prop_map(|(kv, group, dim)| Heads { query: kv * group, kv, dim })
}

fn segments() -> impl Strategy<Value = Vec<Segment>> {
    let len = prop_oneof![1_usize..12, 60_usize..70, 100_usize..140];
    prop::collection::vec((len, prop::option::weighted(0.7, 0_usize..8)), 1..5).prop_map(|parts| tree(&parts))
}

fn rows(segments: &[Segment]) -> usize {
    segments.iter().map(|segment| segment.len).sum()
}

proptest! {
    #![proptest_config(cases(24))]

    #[test]
    fn forward_is_the_definition(heads in heads(), segments in segments(), seed in any::<u64>()) {
        let qkv = noise(seed, rows(&segments) * heads.qkv_width());
        let (expected_out, expected_lse) = oracle(heads, &segments, &widen(&qkv));
        for pool in pools() {
            let (out, lse) = forward(&pool, heads, &segments, &qkv);
            assert_close(&out, &expected_out, 3e-6);
            assert_close(&lse, &expected_lse, 3e-6);
        }
    }

    #[test]
    fn backward_is_the_gradient(heads in heads(), parts in prop::collection::vec((1_usize..80, prop::option::of(0_usize..4)), 1..4), seed in any::<u64>()) {
        let segments = tree(&parts);
        let qkv = noise(seed, rows(&segments) * heads.qkv_width());
        let d_out = noise(!seed, rows(&segments) * heads.query_width());
        let portable = gradient(&Pool::with_level(1, Level::Portable), heads, &segments, &qkv, &d_out);
        assert_gradient(|qkv| weigh(&oracle(heads, &segments, qkv).0, &d_out), &qkv, &portable, 2e-6);
        for pool in pools() {
            assert_close(&gradient(&pool, heads, &segments, &qkv, &d_out), &portable, 1e-5);
        }
    }

    #[test]
    fn results_do_not_depend_on_threads(heads in heads(), segments in segments(), seed in any::<u64>()) {
        let qkv = noise(seed, rows(&segments) * heads.qkv_width());
        let d_out = noise(!seed, rows(&segments) * heads.query_width());
        let (one, three) = (Pool::new(1), Pool::new(3));
        prop_assert_eq!(forward(&one, heads, &segments, &qkv), forward(&three, heads, &segments, &qkv));
        prop_assert_eq!(
            gradient(&one, heads, &segments, &qkv, &d_out),
            gradient(&three, heads, &segments, &qkv, &d_out)
        );
    }

    #[test]
    fn the_cache_gives_the_last_rows_of_the_whole(heads in heads(), len in 1_usize..150, seed in any::<u64>()) {
        let segments = tree(&[(len, None)]);
        let qkv = noise(seed, len * heads.qkv_width());
        let (expected, _) = oracle(heads, &segments, &widen(&qkv));
        let (keys, values) = caches(heads, &qkv);
        for pool in pools() {
            // Two queries of one sequence at once, as when a prompt is read in chunks.
            let first = len.saturating_sub(2);
            let spans: Vec<_> = (first..len).map(|row| [span(heads, &keys, &values, 0..row + 1)]).collect();
            let mut out = vec![f32::NAN; spans.len() * heads.query_width()];
            let queries = &qkv[first * heads.qkv_width()..];
            attention_cached(&pool, heads, queries, heads.qkv_width(), &spans, &mut out);
            assert_close(&out, &expected[first * heads.query_width()..], 3e-6);
        }
    }

    #[test]
    fn the_cache_does_not_care_how_rows_and_positions_are_grouped(
        heads in heads(),
        lens in prop::collection::vec(1_usize..90, 1..4),
        cut in 0.0..1.0,
        halved in any::<bool>(),
        seed in any::<u64>(),
    ) {
        let longest = *lens.iter().max().unwrap();
        let (keys, values) = caches(heads, &noise(seed, longest * heads.qkv_width()));
        let queries = noise(!seed, lens.len() * heads.query_width());
        let (half_keys, half_values) = (narrow(&keys), narrow(&values));
        let part = |range: std::ops::Range<usize>| if halved {
            let elements = range.start * heads.kv_width()..range.end * heads.kv_width();
            let (keys, values) = (&half_keys[elements.clone()], &half_values[elements]);
            KvSpan { keys: KvRows::Bf16(keys), values: KvRows::Bf16(values), len: range.len() }
        } else {
            span(heads, &keys, &values, range)
        };
        for pool in pools() {
            let cuts: Vec<usize> = lens.iter().map(|&len| (cut * len as f64) as usize).collect();
            let spans: Vec<_> = lens.iter().zip(&cuts).map(|(&len, &cut)| [part(0..cut), part(cut..len)]).collect();
            let mut together = vec![f32::NAN; queries.len()];
            attention_cached(&pool, heads, &queries, heads.query_width(), &spans, &mut together);
            for (row, &len) in lens.iter().enumerate() {
                let own = row * heads.query_width()..(row + 1) * heads.query_width();
                let mut alone = vec![f32::NAN; heads.query_width()];
                attention_cached(&Pool::with_level(1, pool.level()), heads, &queries[own.clone()], heads.query_width(), &[[part(0..len)]], &mut alone);
                prop_assert_eq!(&together[own], &alone[..]);
            }
        }
    }
}

fn narrow(x: &[f32]) -> Vec<bf16> {
    x.iter().copied().map(bf16::from_f32).collect()
}

/// Keys and values out of fused rows.
fn caches(heads: Heads, qkv: &[f32]) -> (Vec<f32>, Vec<f32>) {
    let rows = qkv.chunks_exact(heads.qkv_width());
    rows.map(|row| row[heads.query_width()..].split_at(heads.kv_width())).fold(
        Default::default(),
        |(mut keys, mut values): (Vec<f32>, Vec<f32>), (key, value)| {
            keys.extend(key);
            values.extend(value);
            (keys, values)
        },
    )
}

fn span<'a>(heads: Heads, keys: &'a [f32], values: &'a [f32], rows: std::ops::Range<usize>) -> KvSpan<'a> {
    let elements = rows.start * heads.kv_width()..rows.end * heads.kv_width();
    KvSpan {
        keys: KvRows::F32(&keys[elements.clone()]),
        values: KvRows::F32(&values[elements]),
        len: rows.len(),
    }
}

#[test]
fn a_cache_in_bf16_is_a_cache_of_rounded_values() {
    // Heads that end inside of a register at any place.
    for dim in (1..20).chain([27, 32, 45]) {
        let heads = Heads { query: 6, kv: 2, dim };
        let (keys, values) = caches(heads, &noise(1, 37 * heads.qkv_width()));
        let (keys, values) = (narrow(&keys), narrow(&values));
        let wide = |x: &[bf16]| x.iter().map(|x| x.to_f32()).collect::<Vec<_>>();
        let (wide_keys, wide_values) = (wide(&keys), wide(&values));
        let queries = noise(2, heads.query_width());
        for pool in pools() {
            let narrow = KvSpan { keys: KvRows::Bf16(&keys), values: KvRows::Bf16(&values), len: 37 };
            let run = |span: KvSpan| {
                let mut out = vec![f32::NAN; heads.query_width()];
                attention_cached(&pool, heads, &queries, heads.query_width(), &[[span]], &mut out);
                out
            };
            assert_eq!(run(narrow), run(span(heads, &wide_keys, &wide_values, 0..37)));
        }
    }
}

#[test]
fn a_shared_prompt_gives_what_whole_sequences_give() {
    let heads = Heads { query: 4, kv: 2, dim: 16 };
    let (prompt, answers) = (70, [5, 66, 1]);
    let width = heads.qkv_width();
    let shared = tree(&[(prompt, None), (answers[0], Some(0)), (answers[1], Some(0)), (answers[2], Some(0))]);
    let qkv = noise(3, rows(&shared) * width);
    // The same sequences, each with its prompt.
    let whole = tree(&answers.map(|answer| (prompt + answer, None)));
    let source: Vec<usize> =
        shared[1..].iter().flat_map(|part| (0..prompt).chain(part.start..part.start + part.len)).collect();
    let spread = |x: &[f32], width: usize| -> Vec<f32> {
        source.iter().flat_map(|&row| x[row * width..(row + 1) * width].iter().copied()).collect()
    };
    // A gradient on answers only, as a prompt's rows are counted once here and three times there.
    let mut d_out = noise(4, rows(&shared) * heads.query_width());
    d_out[..prompt * heads.query_width()].fill(0.0);
    for pool in pools() {
        let (out, _) = forward(&pool, heads, &shared, &qkv);
        let (whole_out, _) = forward(&pool, heads, &whole, &spread(&qkv, width));
        assert_close(&spread(&out, heads.query_width()), &whole_out, 1e-6);

        let d_qkv = gradient(&pool, heads, &shared, &qkv, &d_out);
        let d_whole =
            gradient(&pool, heads, &whole, &spread(&qkv, width), &spread(&d_out, heads.query_width()));
        let mut summed = vec![0.0; d_qkv.len()];
        for (&row, d) in source.iter().zip(d_whole.chunks_exact(width)) {
            summed[row * width..(row + 1) * width].iter_mut().zip(d).for_each(|(sum, d)| *sum += d);
        }
        assert_close(&d_qkv, &summed, 2e-6);
    }
}

#[test]
fn large_scores_neither_overflow_nor_vanish() {
    let heads = Heads { query: 1, kv: 1, dim: 8 };
    let segments = tree(&[(100, None)]);
    let qkv: Vec<f32> = noise(5, 100 * heads.qkv_width()).into_iter().map(|x| x * 30.0).collect();
    let (expected, expected_lse) = oracle(heads, &segments, &widen(&qkv));
    for pool in pools() {
        let (out, lse) = forward(&pool, heads, &segments, &qkv);
        // Scores in the thousands are rounded to 1e-4 before they are exponents.
        assert_close(&out, &expected, 2e-3);
        assert_close(&lse, &expected_lse, 1e-6);
    }
}

#[test]
#[should_panic(expected = "must come before it")]
fn a_parent_that_follows_its_child_is_refused() {
    let segments =
        [Segment { start: 0, len: 1, parent: Some(1) }, Segment { start: 1, len: 1, parent: None }];
    forward(&Pool::new(1), Heads { query: 1, kv: 1, dim: 4 }, &segments, &[0.0; 24]);
}
