//! Charts as SVG: lines raw and smoothed, evaluations with interval bars. Colours come from the page's CSS.

use std::fmt::Write as _;

use lyceum_stats::Estimate;

use crate::series::{Points, binned, even};

/// Size of the drawing in its own units; the page scales it.
const WIDTH: f64 = 460.0;
const HEIGHT: f64 = 220.0;
/// Room for tick labels: left, right, top, bottom.
const LEFT: f64 = 46.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 8.0;
const BOTTOM: f64 = 24.0;
/// Most points drawn of a line: beyond that they are under a pixel apart.
const POINTS: usize = 300;
/// Colours that the page's CSS knows, `c0` on.
pub(crate) const COLOURS: usize = 6;

/// A chart over training steps.
#[derive(Debug, Default)]
pub(crate) struct Chart<'a> {
    /// Metrics, one value a step.
    pub lines: Vec<Points>,
    /// Evaluations: (step, estimate).
    pub estimates: Vec<Vec<(f64, &'a Estimate)>>,
    /// Steps to mark, with a text to show on pointing at them.
    pub marks: Vec<(f64, String)>,
}

impl Chart<'_> {
    /// The newest value of each line, smoothed, and of each evaluation.
    pub fn newest(&self) -> Vec<f64> {
        let lines = self.lines.iter().map(|line| even(line).last().map_or(f64::NAN, |point| point.1));
        let estimates =
            self.estimates.iter().map(|line| line.last().map_or(f64::NAN, |(_, newest)| newest.mean));
        lines.chain(estimates).collect()
    }

    /// The SVG element; `None` if there is no number to draw.
    pub fn draw(&self) -> Option<String> {
        let raw: Vec<Points> = self.lines.iter().map(|line| binned(line, POINTS)).collect();
        let smooth: Vec<Points> = self.lines.iter().map(|line| binned(&even(line), POINTS)).collect();
        let frame = self.frame(&raw, &smooth)?;
        let mut svg = format!("<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\">");
        frame.draw_axes(&mut svg);
        for (step, text) in &self.marks {
            let x = frame.x(*step);
            let _ = write!(
                svg,
                "<path class=\"mark\" d=\"M{x:.1} {TOP}V{:.1}\"><title>{}</title></path>",
                HEIGHT - BOTTOM,
                escaped(text)
            );
        }
        for (index, line) in raw.iter().enumerate() {
            frame.draw_line(&mut svg, line, &format!("raw c{}", index % COLOURS));
        }
        for (index, line) in smooth.iter().enumerate() {
            frame.draw_line(&mut svg, line, &format!("smooth c{}", index % COLOURS));
        }
        for (index, estimates) in self.estimates.iter().enumerate() {
            frame.draw_estimates(&mut svg, estimates, index % COLOURS);
        }
        svg += "</svg>";
        Some(svg)
    }

    /// The ranges of both axes: all steps; all smoothed values, all intervals, and raw values but for the outermost
    /// percent at either end, so that one spike does not flatten the rest.
    fn frame(&self, raw: &[Points], smooth: &[Points]) -> Option<Frame> {
        let estimates = || self.estimates.iter().flatten();
        let steps = raw.iter().flatten().map(|point| point.0).chain(estimates().map(|(step, _)| *step));
        let mut body: Vec<f64> = raw.iter().flatten().map(|point| point.1).filter(|&v| drawable(v)).collect();
        body.sort_by(f64::total_cmp);
        let trim = body.len() / 100;
        let values = body[trim..body.len() - trim]
            .iter()
            .copied()
            .chain(smooth.iter().flatten().map(|point| point.1))
            .chain(estimates().flat_map(|(_, e)| [e.mean, e.low, e.high]));
        let (x_low, x_high) = range(steps)?;
        let (y_low, y_high) = range(values)?;
        let (y_low, y_high) = if y_low < y_high {
            let air = 0.05 * (y_high - y_low);
            (y_low - air, y_high + air)
        } else {
            let air = if y_low == 0.0 { 1.0 } else { 0.1 * y_low.abs() };
            (y_low - air, y_high + air)
        };
        let x_high = if x_low < x_high { x_high } else { x_low + 1.0 };
        Some(Frame { x_low, x_high, y_low, y_high })
    }
}

/// The window on the data.
struct Frame {
    x_low: f64,
    x_high: f64,
    y_low: f64,
    y_high: f64,
}

impl Frame {
    fn x(&self, step: f64) -> f64 {
        LEFT + (step - self.x_low) / (self.x_high - self.x_low) * (WIDTH - LEFT - RIGHT)
    }

    /// Values beyond the window lie on its edge.
    fn y(&self, value: f64) -> f64 {
        let share = ((value - self.y_low) / (self.y_high - self.y_low)).clamp(0.0, 1.0);
        HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)
    }

    fn draw_axes(&self, svg: &mut String) {
        let right = WIDTH - RIGHT;
        for (value, label) in ticks(self.y_low, self.y_high, 4) {
            let y = self.y(value);
            let _ = write!(
                svg,
                "<path class=\"grid\" d=\"M{LEFT} {y:.1}H{right}\"/><text x=\"{}\" y=\"{:.1}\" \
                 text-anchor=\"end\">{label}</text>",
                LEFT - 6.0,
                y + 3.5
            );
        }
        // Steps are whole, and so are their labels.
        for (value, _) in ticks(self.x_low, self.x_high, 5) {
            if value.fract() == 0.0 {
                let (x, y) = (self.x(value), HEIGHT - 7.0);
                let label = label(value, value.abs().max(1.0));
                let _ = write!(svg, "<text x=\"{x:.1}\" y=\"{y}\" text-anchor=\"middle\">{label}</text>");
            }
        }
        let _ = write!(svg, "<path class=\"axis\" d=\"M{LEFT} {}H{right}\"/>", HEIGHT - BOTTOM);
    }

    fn draw_line(&self, svg: &mut String, points: &[(f64, f64)], class: &str) {
        let mut path = String::new();
        for run in points.split(|point| !drawable(point.1)) {
            for (index, &(step, value)) in run.iter().enumerate() {
                let command = if index == 0 { 'M' } else { 'L' };
                let _ = write!(path, "{command}{:.1} {:.1}", self.x(step), self.y(value));
            }
            // A lone point has no length to be seen by; round ends make it a dot.
            if run.len() == 1 {
                path += "h0";
            }
        }
        let _ = write!(svg, "<path class=\"{class}\" d=\"{path}\"/>");
    }

    fn draw_estimates(&self, svg: &mut String, estimates: &[(f64, &Estimate)], colour: usize) {
        let means: Points = estimates.iter().map(|(step, estimate)| (*step, estimate.mean)).collect();
        self.draw_line(svg, &means, &format!("link c{colour}"));
        for (step, estimate) in estimates.iter().filter(|(_, estimate)| drawable(estimate.mean)) {
            let x = self.x(*step);
            if drawable(estimate.low) && drawable(estimate.high) {
                let (low, high) = (self.y(estimate.low), self.y(estimate.high));
                let _ = write!(
                    svg,
                    "<path class=\"bar c{colour}\" d=\"M{x:.1} {low:.1}V{high:.1}M{left:.1} {low:.1}h6M{left:.1} \
                     {high:.1}h6\"/>",
                    left = x - 3.0
                );
            }
            let y = self.y(estimate.mean);
            let _ = write!(
                svg,
                "<circle class=\"c{colour}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3.2\"><title>step {step}: \
                 {estimate}</title></circle>"
            );
        }
    }
}

/// Whether a number has a place in a drawing: finite, and so far from overflow that spans of them are finite too.
#[must_use]
pub fn drawable(value: f64) -> bool {
    value.abs() < 1e100
}

/// Least and greatest value that can be drawn.
fn range(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    values.filter(|&value| drawable(value)).fold(None, |range, value| {
        let (low, high) = range.unwrap_or((value, value));
        Some((value.min(low), value.max(high)))
    })
}

/// Round values within a range, about `count` of them, with labels of equal precision.
#[must_use]
pub fn ticks(low: f64, high: f64, count: usize) -> Vec<(f64, String)> {
    let span = high - low;
    let power = 10f64.powf((span / count as f64).log10().floor());
    // How far from the wished count a step is, as a ratio: 2 ticks for 4 is as bad as 8.
    let miss = |step: &f64| (span / step / count as f64).ln().abs();
    let steps = [1.0, 2.0, 2.5, 5.0, 10.0].map(|nice| nice * power);
    let step = steps.into_iter().min_by(|a, b| miss(a).total_cmp(&miss(b))).unwrap_or(power);
    let first = (low / step).ceil();
    (0..=2 * count)
        .map(|index| (first + index as f64) * step)
        .take_while(|&value| value <= high + 1e-9 * step)
        .map(|value| (value, label(value, step)))
        .collect()
}

/// A tick's label: as many decimals as its step needs, powers for what is very large or small.
fn label(value: f64, step: f64) -> String {
    let value = if value.abs() < 1e-9 * step { 0.0 } else { value };
    let plain = 1e-4..1e3;
    if value == 0.0 && !plain.contains(&step) {
        return "0".into();
    }
    if step < plain.start || value.abs() >= 1e6 {
        return format!("{value:.1e}");
    }
    if step >= plain.end {
        return format!("{}k", value / 1000.0);
    }
    // A step of 2.5 needs a decimal more than one of 2.
    let decimals = (0..7).find(|&places| {
        let scaled = step * 10f64.powi(places);
        (scaled - scaled.round()).abs() < 1e-6 * scaled
    });
    format!("{value:.*}", decimals.map_or(6, |places| places as usize))
}

/// Text made safe for HTML and SVG, element or attribute. Control characters, and those that turn the direction of
/// writing, become visible: traces are foreign text.
#[must_use]
pub fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe += "&amp;",
            '<' => safe += "&lt;",
            '>' => safe += "&gt;",
            '"' => safe += "&quot;",
            '\'' => safe += "&#39;",
            c => safe.push(visible(c)),
        }
    }
    safe
}

/// The character, or the replacement character for what would act on the page or terminal instead of showing.
pub(crate) const fn visible(c: char) -> char {
    match c {
        '\n' | '\t' => c,
        '\u{0}'..='\u{1f}' | '\u{7f}'..='\u{9f}' => char::REPLACEMENT_CHARACTER,
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => char::REPLACEMENT_CHARACTER,
        c => c,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn labels(low: f64, high: f64) -> Vec<String> {
        ticks(low, high, 4).into_iter().map(|(_, label)| label).collect()
    }

    #[test]
    fn ticks_are_round() {
        assert_eq!(labels(0.0, 1.0), ["0.00", "0.25", "0.50", "0.75", "1.00"]);
        assert_eq!(labels(-0.013, 0.041), ["-0.01", "0.00", "0.01", "0.02", "0.03", "0.04"]);
        assert_eq!(labels(3.0, 208.0), ["50", "100", "150", "200"]);
        assert_eq!(labels(0.0, 48_000.0), ["0", "10k", "20k", "30k", "40k"]);
        assert_eq!(labels(0.0, 3e-5), ["0", "1.0e-5", "2.0e-5", "3.0e-5"]);
        assert_eq!(labels(-3e9, 2e9), ["-3.0e9", "-2.0e9", "-1.0e9", "0", "1.0e9", "2.0e9"]);
    }

    #[test]
    fn a_chart_of_nothing_is_none() {
        assert_eq!(Chart::default().draw(), None);
        assert_eq!(Chart { lines: vec![vec![(1.0, f64::NAN)]], ..Chart::default() }.draw(), None);
    }

    #[test]
    fn a_line_breaks_where_a_number_broke() {
        let points = vec![(0.0, 0.0), (1.0, 1.0), (2.0, f64::NAN), (3.0, 1.0)];
        let svg = Chart { lines: vec![points], ..Chart::default() }.draw().unwrap();
        let raw = svg.split("class=\"raw c0\" d=\"").nth(1).unwrap().split('"').next().unwrap();
        assert_eq!(raw.matches('M').count(), 2, "{raw}");
        assert!(raw.ends_with("h0"), "{raw}");
    }

    #[test]
    fn foreign_text_is_made_safe() {
        assert_eq!(escaped("<b a='1' c=\"2\">&"), "&lt;b a=&#39;1&#39; c=&quot;2&quot;&gt;&amp;");
        assert_eq!(escaped("a\u{1b}[31m\u{202e}\nb"), "a\u{fffd}[31m\u{fffd}\nb");
    }

    proptest! {
        #[test]
        fn ticks_lie_within_and_are_a_few(low in -1e6..1e6f64, span in 1e-6..1e6f64) {
            let found = ticks(low, low + span, 4);
            prop_assert!((1..=9).contains(&found.len()), "{:?}", found);
            for (value, _) in found {
                prop_assert!(value >= low - 1e-6 * span && value <= low + span * (1.0 + 1e-6));
            }
        }

        #[test]
        fn any_numbers_give_a_drawing_within_its_box(
            values in proptest::collection::vec(any::<f64>(), 1..50), lone in any::<bool>(),
        ) {
            let points: Points =
                values.iter().enumerate().map(|(index, &v)| (if lone { 0.0 } else { index as f64 }, v)).collect();
            if let Some(svg) = (Chart { lines: vec![points], ..Chart::default() }).draw() {
                prop_assert!(!svg.contains("NaN") && !svg.contains("inf"), "{}", svg);
            }
        }

        #[test]
        fn escaped_text_holds_no_markup(text in ".{0,40}") {
            let safe = escaped(&text);
            prop_assert!(!safe.contains(['<', '>', '"', '\'']) && !safe.chars().any(|c| c.is_control() && c != '\t'));
        }
    }
}
