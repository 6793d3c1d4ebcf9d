use statrs::distribution::{ContinuousCDF, StudentsT};

use crate::{Estimate, LEVEL, Method};

/// Mean of independent values with Student's t interval: one value a seed, a problem, a document.
///
/// What is not finite counts as unscored. One value has no interval; none has no mean.
#[must_use]
pub fn mean(values: &[f64]) -> Estimate {
    let scored: Vec<f64> = values.iter().copied().filter(|value| value.is_finite()).collect();
    let count = scored.len() as f64;
    let mean = scored.iter().sum::<f64>() / count;
    let half = if scored.len() < 2 {
        f64::NAN
    } else {
        let variance = scored.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (count - 1.0);
        t_quantile(0.5 + LEVEL / 2.0, count - 1.0) * (variance / count).sqrt()
    };
    Estimate {
        mean,
        low: mean - half,
        high: mean + half,
        n: scored.len(),
        unscored: values.len() - scored.len(),
        groups: None,
        method: Method::StudentT,
    }
}

/// Quantile of Student's t; NaN for no degrees of freedom.
fn t_quantile(probability: f64, degrees: f64) -> f64 {
    StudentsT::new(0.0, 1.0, degrees).map_or(f64::NAN, |t| t.inverse_cdf(probability))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// scipy 1.17.1: `scipy.stats.t.ppf(0.975, df)`.
    #[test]
    fn quantiles_of_t() {
        for (degrees, expected) in [
            (1.0, 12.706204736174707),
            (2.0, 4.302652729749464),
            (4.0, 2.776445105197793),
            (9.0, 2.262157162798205),
            (29.0, 2.0452296421327034),
            (642.0, 1.963665968734212),
        ] {
            let found = t_quantile(0.975, degrees);
            assert!((found / expected - 1.0).abs() < 1e-8, "{degrees}: {found} {expected}");
        }
    }

    /// scipy 1.17.1: `scipy.stats.t.interval(0.95, 4, numpy.mean(x), scipy.stats.sem(x))`.
    #[test]
    fn five_seeds() {
        let found = mean(&[0.61, 0.64, 0.59, 0.66, f64::NAN, 0.62]);
        assert!((found.mean - 0.624).abs() < 1e-12);
        assert!((found.low - 0.590_452_086_15).abs() < 1e-8, "{}", found.low);
        assert!((found.high - 0.657_547_913_85).abs() < 1e-8, "{}", found.high);
        assert_eq!((found.n, found.unscored), (5, 1));
    }

    #[test]
    fn too_few_values_have_no_interval() {
        let one = mean(&[2.0]);
        assert!(one.mean == 2.0 && one.low.is_nan() && one.high.is_nan());
        assert!(mean(&[]).mean.is_nan());
        assert_eq!(mean(&[3.0, 3.0, 3.0]).to_string(), "3.000 [3.000, 3.000] n=3");
    }
}
