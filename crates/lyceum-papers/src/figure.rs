//! Curves of several arms as one SVG file that needs nothing else: the mean over seeds with a 95 % band.

use std::fmt::Write as _;

use lyceum_run::{Points, drawable, escaped, ticks};
use lyceum_stats::{Estimate, mean};

use crate::{Figure, Record, Study};

/// Size of the drawing, and room left for what stands around the curves.
const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 380.0;
const LEFT: f64 = 58.0;
const TOP: f64 = 62.0;
const BOTTOM: f64 = 46.0;
/// Width of a letter of a label, and of the widest place for labels.
const LETTER: f64 = 6.5;
const WIDEST: f64 = 250.0;
/// Least distance of two labels.
const LINE: f64 = 17.0;
/// Colours; after them dashes.
const COLOURS: usize = 6;

const STYLE: &str = "\
.page{fill:#ffffff}.grid{stroke:#e3e5e8}.axis{stroke:#667079}text{fill:#667079;font:12px system-ui,-apple-system,\
'Segoe UI',Roboto,'Helvetica Neue',Arial,sans-serif}.title{fill:#1c1f23;font-size:15px;font-weight:600}\
path{fill:none;stroke-linejoin:round;stroke-linecap:round}.line{stroke:currentColor;stroke-width:2}\
.band{fill:currentColor;opacity:.14}.label{fill:currentColor;font-weight:500}.dashed{stroke-dasharray:6 5}\
.c0{color:#2563c9}.c1{color:#d9600a}.c2{color:#0f8a5f}.c3{color:#a13fb5}.c4{color:#8a6d00}.c5{color:#c2335a}\
@media(prefers-color-scheme:dark){.page{fill:#1c2024}.grid{stroke:#30363c}.axis{stroke:#97a1aa}text{fill:#97a1aa}\
.title{fill:#e4e7ea}.label{fill:currentColor}.c0{color:#74a8ff}.c1{color:#ff9a52}.c2{color:#4ccb9b}.c3{color:#d58be4}\
.c4{color:#d9bd4a}.c5{color:#ff7f9f}}";

/// An arm's curve.
struct Curve<'a> {
    label: &'a str,
    points: Vec<(f64, Estimate)>,
    seeds: usize,
}

/// The figure as SVG; `None` if there is nothing to draw.
#[must_use]
pub fn figure(study: &Study, spec: &Figure, records: &[Record]) -> Option<String> {
    let arms = study.file.arm.iter().filter(|arm| spec.arms.is_empty() || spec.arms.contains(&arm.name));
    let mut curves = Vec::new();
    let mut values = Vec::new();
    for arm in arms {
        let of_arm = records.iter().filter(|record| record.arm == arm.name);
        let lines: Vec<&Points> =
            of_arm.filter_map(|record| record.curves.get(&spec.of)).filter(|line| !line.is_empty()).collect();
        values.extend(lines.iter().flat_map(|line| line.iter().map(|point| point.1)));
        curves.push(Curve { label: arm.title(), points: over_seeds(&lines), seeds: lines.len() });
    }
    values.retain(|&value| drawable(value));
    let frame = Frame::around(&curves, &values)?;
    let counts = || curves.iter().map(|curve| curve.seeds).filter(|&seeds| seeds > 0);
    let (fewest, seeds) = (counts().min().unwrap_or(0), counts().max().unwrap_or(0));
    let count = if fewest < seeds { format!("{fewest} to {seeds}") } else { seeds.to_string() };
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" width=\"{WIDTH}\" \
         height=\"{HEIGHT}\" role=\"img\"><title>{title}</title><style>{STYLE}</style><rect class=\"page\" \
         width=\"{WIDTH}\" height=\"{HEIGHT}\" rx=\"8\"/><text class=\"title\" x=\"18\" y=\"27\">{title}</text><text \
         x=\"18\" y=\"46\">{of}, mean over {count} {word}{band}</text>",
        title = escaped(&spec.title),
        of = escaped(&spec.of),
        word = if seeds == 1 { "seed" } else { "seeds" },
        band = if seeds > 1 { "; band: 95 % interval, within the range of the seeds' values" } else { "" },
    );
    frame.axes(&mut svg);
    for (index, curve) in curves.iter().enumerate() {
        frame.band(&mut svg, curve, index);
    }
    for (index, curve) in curves.iter().enumerate() {
        frame.line(&mut svg, curve, index);
    }
    frame.labels(&mut svg, &curves);
    svg += "</svg>\n";
    Some(svg)
}

/// Mean and interval at every step that some seed has a value at.
fn over_seeds(lines: &[&Points]) -> Vec<(f64, Estimate)> {
    let mut points: Points = lines.iter().flat_map(|line| line.iter().copied()).collect();
    points.sort_by(|a, b| a.0.total_cmp(&b.0));
    let same_step = points.chunk_by(|a, b| a.0 == b.0);
    same_step.map(|at| (at[0].0, mean(&at.iter().map(|point| point.1).collect::<Vec<_>>()))).collect()
}

fn class(index: usize) -> String {
    let dashed = if index >= COLOURS { " dashed" } else { "" };
    format!("c{}{dashed}", index % COLOURS)
}

/// The window on the data.
struct Frame {
    x: (f64, f64),
    y: (f64, f64),
    right: f64,
}

impl Frame {
    /// All steps and all values of seeds. Bands end at the frame: of two seeds the interval is 12 times their spread,
    /// and would flatten the curves.
    fn around(curves: &[Curve<'_>], values: &[f64]) -> Option<Self> {
        let least = |values: &mut dyn Iterator<Item = f64>| values.min_by(f64::total_cmp);
        let most = |values: &mut dyn Iterator<Item = f64>| values.max_by(f64::total_cmp);
        let steps = || curves.iter().flat_map(|curve| curve.points.iter().map(|point| point.0));
        let (low, high) = (least(&mut values.iter().copied())?, most(&mut values.iter().copied())?);
        let x = (least(&mut steps())?, most(&mut steps())?);
        let air = if low < high { 0.06 * (high - low) } else { (0.1 * low.abs()).max(0.1) };
        // A share or a count is not drawn below 0 for the sake of air.
        let floor = if low >= 0.0 { 0.0f64.max(low - air) } else { low - air };
        let letters = curves.iter().map(|curve| curve.label.chars().count()).max().unwrap_or(0);
        let room = (LETTER * letters as f64 + 18.0).clamp(40.0, WIDEST);
        let x = if x.0 < x.1 { x } else { (x.0, x.0 + 1.0) };
        Some(Self { x, y: (floor, high + air), right: WIDTH - room })
    }

    fn at_x(&self, step: f64) -> f64 {
        LEFT + (step - self.x.0) / (self.x.1 - self.x.0) * (self.right - LEFT)
    }

    fn at_y(&self, value: f64) -> f64 {
        let share = ((value - self.y.0) / (self.y.1 - self.y.0)).clamp(0.0, 1.0);
        HEIGHT - BOTTOM - share * (HEIGHT - BOTTOM - TOP)
    }

    fn axes(&self, svg: &mut String) {
        let right = self.right;
        for (value, label) in ticks(self.y.0, self.y.1, 5) {
            let y = self.at_y(value);
            let _ = write!(
                svg,
                "<path class=\"grid\" d=\"M{LEFT} {y:.1}H{right:.1}\"/><text x=\"{}\" y=\"{:.1}\" \
                 text-anchor=\"end\">{label}</text>",
                LEFT - 8.0,
                y + 4.0
            );
        }
        let floor = HEIGHT - BOTTOM;
        for (value, label) in ticks(self.x.0, self.x.1, 6).into_iter().filter(|tick| tick.0.fract() == 0.0) {
            let x = self.at_x(value);
            // Steps are whole, and so are their labels.
            let label = if value.abs() < 1000.0 { format!("{value:.0}") } else { label };
            let _ = write!(
                svg,
                "<text x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\">{label}</text>",
                floor + 18.0
            );
        }
        let middle = 0.5 * (LEFT + right);
        let _ = write!(
            svg,
            "<path class=\"axis\" d=\"M{LEFT} {floor}H{right:.1}\"/><text x=\"{middle:.1}\" y=\"{}\" \
             text-anchor=\"middle\">updates</text>",
            HEIGHT - 10.0
        );
    }

    fn band(&self, svg: &mut String, curve: &Curve<'_>, index: usize) {
        let known: Vec<&(f64, Estimate)> =
            curve.points.iter().filter(|(_, at)| drawable(at.low) && drawable(at.high)).collect();
        if known.len() < 2 {
            return;
        }
        let upper = known.iter().map(|(step, at)| (self.at_x(*step), self.at_y(at.high)));
        let lower = known.iter().rev().map(|(step, at)| (self.at_x(*step), self.at_y(at.low)));
        let path: Vec<String> = upper.chain(lower).map(|(x, y)| format!("{x:.1} {y:.1}")).collect();
        let _ = write!(svg, "<path class=\"band c{}\" d=\"M{}Z\"/>", index % COLOURS, path.join("L"));
    }

    fn line(&self, svg: &mut String, curve: &Curve<'_>, index: usize) {
        let points = curve.points.iter().filter(|(_, at)| drawable(at.mean));
        let path: Vec<String> =
            points.map(|(step, at)| format!("{:.1} {:.1}", self.at_x(*step), self.at_y(at.mean))).collect();
        if !path.is_empty() {
            // A lone point has no length to be seen by; round ends make it a dot.
            let dot = if path.len() == 1 { "h0" } else { "" };
            let _ = write!(svg, "<path class=\"line {}\" d=\"M{}{dot}\"/>", class(index), path.join("L"));
        }
    }

    /// Each beside the end of its curve, and none over another.
    fn labels(&self, svg: &mut String, curves: &[Curve<'_>]) {
        let end =
            |curve: &Curve<'_>| curve.points.iter().rev().find(|(_, at)| drawable(at.mean)).map(|p| p.1.mean);
        let mut labels: Vec<(f64, usize)> =
            curves.iter().enumerate().filter_map(|(i, curve)| Some((self.at_y(end(curve)?), i))).collect();
        labels.sort_by(|a, b| a.0.total_cmp(&b.0));
        let wished: Vec<f64> = labels.iter().map(|label| label.0).collect();
        for (y, (_, index)) in spread(&wished, LINE, HEIGHT - BOTTOM).into_iter().zip(labels) {
            let letters = curves[index].label.chars().count() as f64;
            // What would not fit is drawn narrower rather than cut off.
            let squeeze = if LETTER * letters + 18.0 > WIDEST {
                format!(" textLength=\"{:.0}\" lengthAdjust=\"spacingAndGlyphs\"", WIDEST - 16.0)
            } else {
                String::new()
            };
            let _ = write!(
                svg,
                "<text class=\"label c{}\" x=\"{:.1}\" y=\"{:.1}\"{squeeze}>{}</text>",
                index % COLOURS,
                self.right + 8.0,
                y + 4.0,
                escaped(curves[index].label)
            );
        }
    }
}

/// Rising places moved apart to at least `gap`, none beyond `end` where there is room.
fn spread(wished: &[f64], gap: f64, end: f64) -> Vec<f64> {
    let mut places = wished.to_vec();
    for index in 1..places.len() {
        places[index] = places[index].max(places[index - 1] + gap);
    }
    let mut limit = end;
    for place in places.iter_mut().rev() {
        *place = place.min(limit);
        limit = *place - gap;
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_keep_their_distance() {
        assert_eq!(spread(&[10.0, 50.0], 17.0, 300.0), [10.0, 50.0]);
        assert_eq!(spread(&[10.0, 12.0, 14.0], 17.0, 300.0), [10.0, 27.0, 44.0]);
        assert_eq!(spread(&[290.0, 299.0], 17.0, 300.0), [283.0, 300.0]);
        assert_eq!(spread(&[], 17.0, 300.0), Vec::<f64>::new());
    }

    #[test]
    fn seeds_meet_at_their_steps() {
        let (a, b) = (vec![(0.0, 1.0), (5.0, 2.0)], vec![(0.0, 3.0)]);
        let found = over_seeds(&[&a, &b]);
        assert_eq!(
            found.iter().map(|(step, at)| (*step, at.mean, at.n)).collect::<Vec<_>>(),
            [(0.0, 2.0, 2), (5.0, 2.0, 1)]
        );
    }
}
