//! What is seen of a document, from each view.

use lyceum_eval::entailment::coverage;
use lyceum_retrieve::embed::cosine;
use serde::{Deserialize, Serialize};

use super::student::Student;

/// A retrieved document.
#[derive(Clone, Debug, Default)]
pub struct Candidate {
    /// Its text.
    pub text: String,
    /// Its unit vector.
    pub vector: Vec<f32>,
    /// How far its source is to be believed, from 0 to 1.
    pub authority: Option<f64>,
    /// When it is of, in years.
    pub date: Option<f64>,
    /// Where it comes from: copies of one source are one voice.
    pub source: String,
    /// The answer that was read out of it, where one was.
    pub answer: Option<String>,
    /// How much it raises the log-probability of an answer, where a model was asked; the student's view otherwise.
    pub utility: Option<f64>,
}

/// Names of the views, in the order of [`Views`].
pub const VIEWS: [&str; 6] = ["relevance", "utility", "supplement", "authority", "timeliness", "commonality"];

/// A document's scores, each from 0 to 1 among the candidates of its question.
pub type Views = [f64; 6];

/// What the paper leaves open.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Now, in years.
    pub now: f64,
    /// Years after which a document is half as timely.
    pub half_life: f64,
    /// From this cosine on two texts say the same.
    pub same: f32,
}

impl Default for Settings {
    fn default() -> Self {
        Self { now: 2025.3, half_life: 2.0, same: 0.85 }
    }
}

/// Scores the candidates of a question from every view. Relevance and utility are spread over 0 to 1 within the question,
/// authority and timeliness keep their scales: where all sources are equal they must not decide.
#[must_use]
pub fn view(
    question: &str,
    vector: &[f32],
    candidates: &[Candidate],
    student: Option<&Student>,
    settings: Settings,
) -> Vec<Views> {
    let cosines: Vec<f64> = candidates.iter().map(|c| f64::from(cosine(vector, &c.vector))).collect();
    let relevance = spread(&cosines);
    let seen = |c: &Candidate| c.utility.or(student.map(|student| student.score(vector, &c.vector)));
    // Where nobody can tell, the view is silent, not content with all.
    let utility = candidates.iter().map(seen).collect::<Option<Vec<f64>>>();
    let utility = utility.map_or_else(|| vec![0.0; candidates.len()], |utility| spread(&utility));
    let dates = median(candidates.iter().filter_map(|c| c.date).collect());
    let best = (0..candidates.len()).max_by(|&a, &b| cosines[a].total_cmp(&cosines[b]));
    let one = |(at, candidate): (usize, &Candidate)| -> Views {
        // Near to what answers best, and yet without the question's words: background.
        let near =
            best.is_some_and(|best| best != at && cosine(&candidates[best].vector, &candidate.vector) >= 0.5);
        let supplement = near && coverage(&candidate.text, question) < 0.6;
        let age = candidate.date.or(dates).map_or(0.0, |date| (settings.now - date).max(0.0));
        [
            relevance[at],
            utility[at],
            f64::from(u8::from(supplement)),
            candidate.authority.unwrap_or(0.5).clamp(0.0, 1.0),
            (-std::f64::consts::LN_2 * age / settings.half_life.max(1e-9)).exp(),
            commonality(at, candidates, settings.same),
        ]
    };
    candidates.iter().enumerate().map(one).collect()
}

/// The share of the other sources that say the same: the same answer where both have one, else nearly the same text.
fn commonality(at: usize, candidates: &[Candidate], same: f32) -> f64 {
    let own = &candidates[at];
    let normal = |candidate: &Candidate| candidate.answer.as_deref().map(lyceum_eval::lexical::squad_normal);
    let mut others = std::collections::BTreeMap::<&str, bool>::new();
    for other in candidates.iter().filter(|other| other.source != own.source) {
        let agrees = match (normal(own), normal(other)) {
            (Some(own), Some(other)) => own == other,
            (None, None) => cosine(&own.vector, &other.vector) >= same,
            _ => false,
        };
        *others.entry(&other.source).or_default() |= agrees;
    }
    if others.is_empty() {
        0.0
    } else {
        others.values().filter(|&&agrees| agrees).count() as f64 / others.len() as f64
    }
}

/// Brings values to 0 to 1; equal ones to 1 all.
fn spread(values: &[f64]) -> Vec<f64> {
    let (low, high) =
        values.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), &x| (low.min(x), high.max(x)));
    values.iter().map(|x| if high > low { (x - low) / (high - low) } else { 1.0 }).collect()
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(vector: [f32; 2], date: Option<f64>, source: &str, answer: &str) -> Candidate {
        Candidate {
            text: answer.into(),
            vector: vector.into(),
            date,
            source: source.into(),
            answer: (!answer.is_empty()).then(|| answer.into()),
            ..Candidate::default()
        }
    }

    #[test]
    fn views_by_hand() {
        let all = [
            candidate([1.0, 0.0], Some(2025.3), "a", "ten"),
            candidate([0.6, 0.8], Some(2023.3), "b", "Ten."),
            candidate([0.0, 1.0], None, "c", "two"),
            candidate([0.0, 1.0], None, "a", "two"),
        ];
        let views = view("when", &[1.0, 0.0], &all, None, Settings::default());
        assert_eq!([views[0][0], views[2][0]], [1.0, 0.0]);
        assert!(views.iter().all(|views| views[1] == 0.0), "nobody can tell what helps");
        assert!((views[1][0] - 0.6).abs() < 1e-6);
        assert_eq!((views[0][4], views[1][4]), (1.0, 0.5));
        // The median of the known dates stands in for what is missing.
        assert_eq!(views[2][4], 1.0);
        // Of a's two other sources one agrees; c is agreed with by a, not by b.
        assert_eq!((views[0][5], views[1][5], views[2][5]), (0.5, 0.5, 0.5));
        assert!(views.iter().flatten().all(|score| (0.0..=1.0).contains(score)));
    }
}
