//! Curves out of rows: what the report draws and the terminal view sketches.

use std::collections::BTreeMap;

use crate::Row;

/// Points (step, value) in the order of steps; a value may be NaN.
pub type Points = Vec<(f64, f64)>;

/// Every metric of the rows by name.
pub(crate) fn metrics(rows: &[Row]) -> BTreeMap<&str, Points> {
    collect(rows, |row| &row.metrics)
}

/// Every clock reading of the rows by name.
pub(crate) fn wall(rows: &[Row]) -> BTreeMap<&str, Points> {
    collect(rows, |row| &row.wall)
}

fn collect(rows: &[Row], values: impl Fn(&Row) -> &BTreeMap<String, f64>) -> BTreeMap<&str, Points> {
    let mut series = BTreeMap::<&str, Points>::new();
    for row in rows {
        for (name, &value) in values(row) {
            series.entry(name.as_str()).or_default().push((row.step as f64, value));
        }
    }
    series
}

/// The line that is drawn bold: every point the mean of its neighbours on both sides, so that it does not lag. A
/// neighbour's weight halves with every fortieth of the points between. NaN is passed over.
pub(crate) fn even(points: &[(f64, f64)]) -> Points {
    two_sided(points, points.len() as f64 / 40.0)
}

fn two_sided(points: &[(f64, f64)], half_life: f64) -> Points {
    let finite: Points = points.iter().copied().filter(|(_, value)| value.is_finite()).collect();
    let keep = 0.5f64.powf(1.0 / half_life.max(f64::MIN_POSITIVE));
    // Weighted sum and sum of weights up to each point, itself included; then from the other end.
    let sweep = |values: &mut dyn Iterator<Item = f64>| -> Vec<(f64, f64)> {
        values
            .scan((0.0, 0.0), |(sum, weight), value| {
                (*sum, *weight) = (keep * *sum + value, keep * *weight + 1.0);
                Some((*sum, *weight))
            })
            .collect()
    };
    let before = sweep(&mut finite.iter().map(|point| point.1));
    let after = sweep(&mut finite.iter().rev().map(|point| point.1));
    let sides = before.iter().zip(after.iter().rev());
    finite
        .iter()
        .zip(sides)
        .map(|(&(step, value), (b, a))| (step, (b.0 + a.0 - value) / (b.1 + a.1 - 1.0)))
        .collect()
}

/// At most `bins` points, each the mean of equally many neighbours; NaN where a bin has no number.
#[must_use]
pub fn binned(points: &[(f64, f64)], bins: usize) -> Points {
    let size = points.len().div_ceil(bins.max(1)).max(1);
    let mean = |values: &mut dyn Iterator<Item = f64>| {
        let (sum, count) = values.filter(|v| v.is_finite()).fold((0.0, 0.0), |(s, n), v| (s + v, n + 1.0));
        sum / count
    };
    points
        .chunks(size)
        .map(|chunk| {
            (mean(&mut chunk.iter().map(|point| point.0)), mean(&mut chunk.iter().map(|point| point.1)))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn smoothing_weighs_both_sides_alike() {
        let points = [(1.0, 4.0), (2.0, f64::NAN), (3.0, 1.0), (4.0, 0.0)];
        // Weights 1, 1/2, 1/4 on 4, 1, 0; then 1/2, 1, 1/2; then 1/4, 1/2, 1.
        assert_eq!(two_sided(&points, 1.0), [(1.0, 4.5 / 1.75), (3.0, 3.0 / 2.0), (4.0, 1.5 / 1.75)]);
        let straight: Points = (0..80).map(|index| (f64::from(index), f64::from(index))).collect();
        assert!((even(&straight)[40].1 - 40.0).abs() < 0.01, "no lag");
    }

    #[test]
    fn bins_are_means() {
        let points: Points = (0..5).map(|index| (f64::from(index), f64::from(index * index))).collect();
        assert_eq!(binned(&points, 2), [(1.0, 5.0 / 3.0), (3.5, 12.5)]);
        assert_eq!(binned(&points, 9), points);
        assert!(binned(&[(1.0, f64::NAN)], 1)[0].1.is_nan());
        assert_eq!(binned(&[], 3), []);
    }
}
