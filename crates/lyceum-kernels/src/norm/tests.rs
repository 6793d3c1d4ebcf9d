use proptest::prelude::*;

use super::*;
use crate::testing::{assert_close, assert_gradient, cases, noise, pools, weigh, widen};
use crate::{HeadSpan, Pool};

const EPS: f32 = 1e-5;

fn rms_oracle(x: &[f64], weight: &[f64]) -> Vec<f64> {
    let row = |x: &[f64]| -> Vec<f64> {
        let mean = x.iter().map(|x| x * x).sum::<f64>() / x.len() as f64;
        x.iter().zip(weight).map(|(x, w)| w * x / (mean + f64::from(EPS)).sqrt()).collect()
    };
    x.chunks_exact(weight.len()).flat_map(row).collect()
}

fn layer_oracle(x: &[f64], weight: &[f64], bias: &[f64]) -> Vec<f64> {
    let row = |x: &[f64]| -> Vec<f64> {
        let mean = x.iter().sum::<f64>() / x.len() as f64;
        let variance = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / x.len() as f64;
        let normal = x.iter().map(|x| (x - mean) / (variance + f64::from(EPS)).sqrt());
        normal.zip(weight).zip(bias).map(|((x, w), b)| w * x + b).collect()
    };
    x.chunks_exact(weight.len()).flat_map(row).collect()
}

/// Rows, width and whether the batch is large enough for several threads.
fn shape() -> impl Strategy<Value = (usize, usize)> {
    prop_oneof![(1_usize..9, 1_usize..100), (150_usize..200, 100_usize..150)]
}

proptest! {
    #![proptest_config(cases(24))]

    #[test]
    fn rms_norm_is_the_definition((rows, width) in shape(), seed in any::<u64>()) {
        let (x, delta, weight) = (noise(seed, rows * width), noise(seed ^ 1, rows * width), noise(seed ^ 2, width));
        let expected = rms_oracle(&widen(&x), &widen(&weight));
        let total: Vec<f32> = x.iter().zip(&delta).map(|(x, d)| x + d).collect();
        for pool in pools() {
            let (mut out, mut inverse) = (vec![f32::NAN; x.len()], vec![f32::NAN; rows]);
            rms_norm(&pool, &x, &weight, EPS, &mut out, &mut inverse);
            assert_close(&out, &expected, 1e-6);

            let (mut residual, mut fused, mut fused_inverse) = (x.clone(), out.clone(), inverse.clone());
            add_rms_norm(&pool, &mut residual, &delta, &weight, EPS, &mut fused, &mut fused_inverse);
            rms_norm(&pool, &total, &weight, EPS, &mut out, &mut inverse);
            prop_assert_eq!(&residual, &total);
            prop_assert_eq!((fused, fused_inverse), (out, inverse));
        }
    }

    #[test]
    fn rms_norm_backward_is_the_gradient((rows, width) in shape(), seed in any::<u64>()) {
        let (x, d_out, weight) = (noise(seed, rows * width), noise(seed ^ 1, rows * width), noise(seed ^ 2, width));
        let backward = |pool: &Pool| {
            let (mut out, mut inverse) = (vec![0.0; x.len()], vec![0.0; rows]);
            rms_norm(pool, &x, &weight, EPS, &mut out, &mut inverse);
            let (mut d_x, mut d_weight) = (vec![0.0; x.len()], vec![0.0; width]);
            rms_norm_backward(pool, &x, &weight, &inverse, &d_out, &mut d_x, &mut d_weight);
            (d_x, d_weight)
        };
        let (wide_x, wide_weight) = (widen(&x), widen(&weight));
        for pool in pools() {
            let (d_x, d_weight) = backward(&pool);
            assert_gradient(|x| weigh(&rms_oracle(x, &wide_weight), &d_out), &x, &d_x, 1e-5);
            assert_gradient(|weight| weigh(&rms_oracle(&wide_x, weight), &d_out), &weight, &d_weight, 1e-5);
            prop_assert_eq!(backward(&Pool::with_level(4, pool.level())), (d_x, d_weight));
        }
    }

    #[test]
    fn layer_norm_is_the_definition_and_backward_its_gradient((rows, width) in shape(), seed in any::<u64>()) {
        let (x, d_out) = (noise(seed, rows * width), noise(seed ^ 1, rows * width));
        let (weight, bias) = (noise(seed ^ 2, width), noise(seed ^ 3, width));
        let expected = layer_oracle(&widen(&x), &widen(&weight), &widen(&bias));
        for pool in pools() {
            let (mut out, mut mean, mut inverse) = (vec![f32::NAN; x.len()], vec![0.0; rows], vec![0.0; rows]);
            layer_norm(&pool, &x, &weight, &bias, EPS, &mut out, &mut mean, &mut inverse);
            if width > 2 {
                // The difference of two close numbers has few digits, of which a row of two is made.
                assert_close(&out, &expected, 1e-4);
            }
            let (mut d_x, mut d_weight, mut d_bias) = (vec![0.0; x.len()], vec![0.0; width], vec![0.0; width]);
            layer_norm_backward(
                &pool, &x, &weight, &mean, &inverse, &d_out, &mut d_x, &mut d_weight, &mut d_bias,
            );
            let (x64, weight64, bias64) = (widen(&x), widen(&weight), widen(&bias));
            if width > 2 {
                assert_gradient(|x| weigh(&layer_oracle(x, &weight64, &bias64), &d_out), &x, &d_x, 1e-4);
            }
            assert_gradient(|w| weigh(&layer_oracle(&x64, w, &bias64), &d_out), &weight, &d_weight, 1e-4);
            assert_gradient(|b| weigh(&layer_oracle(&x64, &weight64, b), &d_out), &bias, &d_bias, 1e-5);
        }
    }

    #[test]
    fn the_norm_of_heads_is_that_of_rows(rows in 1_usize..90, heads in 1_usize..4, dim in 1_usize..70, offset in 0_usize..9, seed in any::<u64>()) {
        let span = HeadSpan { stride: offset + heads * dim + 3, offset, heads, dim };
        let x = noise(seed, rows * span.stride);
        let (d, weight) = (noise(seed ^ 1, x.len()), noise(seed ^ 2, dim));
        let pick = |x: &[f32]| -> Vec<f32> {
            x.chunks_exact(span.stride).flat_map(|row| row[offset..offset + heads * dim].iter().copied()).collect()
        };
        for pool in pools() {
            let (mut out, mut inverse) = (d.clone(), vec![0.0; rows * heads]);
            rms_norm_heads(&pool, span, &x, &weight, EPS, &mut out, &mut inverse);
            let (mut expected, mut expected_inverse) = (vec![0.0; rows * heads * dim], vec![0.0; rows * heads]);
            rms_norm(&pool, &pick(&x), &weight, EPS, &mut expected, &mut expected_inverse);
            prop_assert_eq!(pick(&out), expected);
            prop_assert_eq!(&inverse, &expected_inverse);

            let (mut d_x, mut d_weight) = (d.clone(), vec![0.0; dim]);
            rms_norm_heads_backward(&pool, span, &x, &weight, &inverse, &mut d_x, &mut d_weight);
            let (mut expected, mut expected_weight) = (vec![0.0; rows * heads * dim], vec![0.0; dim]);
            rms_norm_backward(&pool, &pick(&x), &weight, &inverse, &pick(&d), &mut expected, &mut expected_weight);
            assert_close(&pick(&d_x), &expected, 1e-6);
            assert_close(&d_weight, &expected_weight, 1e-5);
            // What lies between the heads stays.
            for (before, after) in [(&d, &out), (&d, &d_x)] {
                for (before, after) in before.chunks_exact(span.stride).zip(after.chunks_exact(span.stride)) {
                    prop_assert_eq!(&before[..offset], &after[..offset]);
                    prop_assert_eq!(&before[span.stride - 3..], &after[span.stride - 3..]);
                }
            }
        }
    }
}

#[test]
fn backward_adds_to_what_is_there() {
    let pool = Pool::new(1);
    let (x, weight) = (noise(1, 6), noise(2, 3));
    let (mut d_x, mut d_weight) = (vec![5.0; 6], vec![7.0; 3]);
    rms_norm_backward(&pool, &x, &weight, &[1.0, 1.0], &[0.0; 6], &mut d_x, &mut d_weight);
    assert_eq!((d_x, d_weight), (vec![5.0; 6], vec![7.0; 3]));
}
