//! The utility view without a model at hand: a student on the encoder's vectors, taught which documents help.

/// A score of a question and a document: the sum over dimensions of weight x question x document, which is the cosine when all
/// weights are 1. In the place of the paper's fine-tuned encoder, which needs a GPU; trained with InfoNCE at the paper's
/// temperature of .05.
#[derive(Clone, Debug, PartialEq)]
pub struct Student {
    weights: Vec<f32>,
}

/// What the student learns from one question.
#[derive(Clone, Debug)]
pub struct Lesson {
    /// The question's vector.
    pub question: Vec<f32>,
    /// Its documents' vectors.
    pub documents: Vec<Vec<f32>>,
    /// Which of them help.
    pub helps: Vec<bool>,
}

impl Student {
    /// Learns from some questions; vectors are of `width`.
    #[must_use]
    pub fn learn(lessons: &[Lesson], width: usize) -> Self {
        const EPOCHS: usize = 20;
        const RATE: f32 = 0.5;
        const TEMPERATURE: f32 = 0.05;
        let mut student = Self { weights: vec![1.0; width] };
        for _ in 0..EPOCHS {
            for Lesson { question, documents, helps } in lessons {
                let helpful = helps.iter().filter(|helps| **helps).count();
                if helpful == 0 || helpful == helps.len() {
                    continue;
                }
                let logits: Vec<f32> =
                    documents.iter().map(|d| student.score(question, d) as f32 / TEMPERATURE).collect();
                let most = logits.iter().copied().fold(f32::MIN, f32::max);
                let all: f32 = logits.iter().map(|logit| (logit - most).exp()).sum();
                for ((document, logit), helps) in documents.iter().zip(&logits).zip(helps) {
                    let share = (logit - most).exp() / all;
                    let wanted = if *helps { 1.0 / helpful as f32 } else { 0.0 };
                    let step = RATE * (wanted - share);
                    for ((weight, q), d) in student.weights.iter_mut().zip(question).zip(document) {
                        *weight += step * q * d;
                    }
                }
            }
        }
        student
    }

    /// How much a document helps.
    #[must_use]
    pub fn score(&self, question: &[f32], document: &[f32]) -> f64 {
        let terms = self.weights.iter().zip(question).zip(document).map(|((w, q), d)| w * q * d);
        f64::from(terms.sum::<f32>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_learns_which_dimension_helps() {
        let half = std::f32::consts::FRAC_1_SQRT_2;
        let question = vec![half, half];
        // Equal cosines; the first dimension is what helps.
        let documents = vec![vec![1.0, 0.0], vec![0.0, 1.0]];
        let lesson =
            Lesson { question: question.clone(), documents: documents.clone(), helps: vec![true, false] };
        let student = Student::learn(&[lesson], 2);
        assert!(student.score(&question, &documents[0]) > student.score(&question, &documents[1]) + 0.05);
    }
}
