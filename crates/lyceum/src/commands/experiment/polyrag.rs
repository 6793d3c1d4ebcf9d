//! PolyRAG's claims in a small world: what each view brings, where sources and dates conflict and where they do not.

use std::collections::BTreeMap;

use anyhow::Result;
use lyceum_eval::retrieval::Metric;
use lyceum_reason::polyrag::student::{Lesson, Student};
use lyceum_reason::polyrag::world::{Question, Slice, question};
use lyceum_reason::polyrag::{Mixer, PAPER, Settings, VIEWS, Views, mix, select, topics, view, without};
use lyceum_retrieve::Embedder;
use lyceum_retrieve::analysis::{Language, terms};
use lyceum_run::Row;
use serde::{Deserialize, Serialize};

use crate::cli::ENCODER;
use crate::commands::index::embedder;
use crate::session::Session;

/// The experiment.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Polyrag {
    /// Which world.
    pub seed: u64,
    /// Questions that are asked, of all slices in turn.
    pub questions: u64,
    /// Questions of another world, that student and mixer learn from.
    pub training: u64,
    /// Documents that are selected.
    pub k: usize,
    /// Greatest cosine distance within a topic.
    pub radius: f32,
    /// What the paper leaves open of the views.
    pub views: Settings,
}

impl Default for Polyrag {
    fn default() -> Self {
        Self { seed: 1, questions: 600, training: 300, k: 3, radius: 0.2, views: Settings::default() }
    }
}

/// A question with the views of its documents.
struct Seen {
    question: Question,
    views: Vec<Views>,
}

impl Polyrag {
    /// Runs it.
    pub fn run(&self, session: &Session, row: &mut Row) -> Result<()> {
        let embedder = embedder(session, ENCODER)?;
        // The worlds of training and asking never meet.
        let trained = embedded(&embedder, self.seed + 1_000_000, self.training)?;
        let lessons: Vec<_> = trained
            .iter()
            .map(|(question, vector)| {
                let documents = question.documents.iter().map(|document| document.vector.clone()).collect();
                Lesson { question: vector.clone(), documents, helps: question.relevant.clone() }
            })
            .collect();
        let student = Student::learn(&lessons, embedder.identity().width);
        let see = |(question, vector): (Question, Vec<f32>)| {
            let views = view(&question.text, &vector, &question.documents, Some(&student), self.views);
            Seen { question, views }
        };
        let learned = {
            let seen: Vec<Seen> = trained.into_iter().map(see).collect();
            let judged: Vec<_> =
                seen.iter().map(|s| (s.views.clone(), s.question.relevant.clone())).collect();
            lyceum_reason::polyrag::mix::learn(&judged)
        };
        let asked: Vec<Seen> = embedded(&embedder, self.seed, self.questions)?.into_iter().map(see).collect();
        VIEWS.iter().zip(learned).for_each(|(name, weight)| row.set(format!("learned/{name}"), weight));
        let one = |at: usize| std::array::from_fn(|i| if i == at { 1.0 } else { 0.0 });
        let mut methods: Vec<(String, Method)> = vec![
            ("bm25".into(), Method::Words),
            ("relevance".into(), Method::Mix(Mixer::Linear(one(0)))),
            ("utility".into(), Method::Mix(Mixer::Linear(one(1)))),
            ("polyrag".into(), Method::Mix(Mixer::Linear(PAPER))),
            ("topics".into(), Method::Topics(Mixer::Linear(PAPER))),
            ("log-linear".into(), Method::Mix(Mixer::LogLinear(PAPER))),
            ("learned".into(), Method::Mix(Mixer::Linear(learned))),
            ("ungated".into(), Method::Mix(Mixer::Linear([0.0, 0.0, 0.0, 0.5, 0.5, 0.0]))),
            ("commonality".into(), Method::Mix(Mixer::Linear([0.35, 0.35, 0.1, 0.1, 0.1, 0.2]))),
        ];
        for (at, name) in VIEWS.iter().enumerate().take(5) {
            methods.push((format!("without-{name}"), Method::Mix(Mixer::Linear(without(PAPER, at)))));
        }
        let mut gain = BTreeMap::<(&str, &str), f64>::new();
        for (name, method) in &methods {
            for slice in Slice::ALL {
                let of_slice = || asked.iter().filter(|seen| seen.question.slice == slice);
                let scores: Vec<[f64; 4]> = of_slice().map(|seen| self.score(seen, *method)).collect();
                for (at, metric) in ["ndcg", "hit", "precision", "accuracy"].into_iter().enumerate() {
                    let mean = scores.iter().map(|s| s[at]).sum::<f64>() / scores.len().max(1) as f64;
                    row.set(format!("{metric}/{}/{name}", slice.name()), mean);
                    if metric == "ndcg" {
                        gain.insert((slice.name(), name), mean);
                    }
                }
            }
        }
        for (name, _) in &methods {
            for slice in Slice::ALL.map(Slice::name) {
                let against = |other: &str| gain[&(slice, name.as_str())] - gain[&(slice, other)];
                row.set(format!("over-relevance/{slice}/{name}"), against("relevance"));
                row.set(format!("over-polyrag/{slice}/{name}"), against("polyrag"));
            }
        }
        Ok(())
    }

    /// nDCG@k, hit@k, precision@k, and whether the reader is right: it says what the chosen documents say, weighed by score.
    fn score(&self, seen: &Seen, method: Method) -> [f64; 4] {
        let Question { documents, relevant, answer, .. } = &seen.question;
        let scores: Vec<f64> = match method {
            Method::Words => bm25(&seen.question),
            Method::Mix(mixer) | Method::Topics(mixer) => {
                seen.views.iter().map(|views| mix(mixer, views)).collect()
            }
        };
        let chosen = match method {
            Method::Topics(_) => {
                let vectors: Vec<&[f32]> = documents.iter().map(|d| d.vector.as_slice()).collect();
                select(&scores, &topics(&vectors, self.radius), self.k)
            }
            _ => select(&scores, &vec![0; scores.len()], self.k),
        };
        let names: Vec<String> = (0..documents.len()).map(|at| at.to_string()).collect();
        let ranking: Vec<&str> = chosen.iter().map(|&at| names[at].as_str()).collect();
        let judged = names.iter().cloned().zip(relevant.iter().map(|&r| i64::from(r))).collect();
        let value = |metric: Metric| metric.of(&ranking, &judged).unwrap_or(f64::NAN);
        let least = scores.iter().copied().fold(f64::INFINITY, f64::min);
        let mut votes = BTreeMap::<&str, f64>::new();
        for &at in &chosen {
            if let Some(said) = &documents[at].answer {
                *votes.entry(said).or_default() += scores[at] - least + 1e-9;
            }
        }
        let said = votes.into_iter().max_by(|a, b| a.1.total_cmp(&b.1)).map(|(said, _)| said);
        let right = f64::from(u8::from(said == Some(answer.as_str())));
        let k = self.k;
        [value(Metric::Ndcg(Some(k))), value(Metric::Success(k)), value(Metric::Precision(k)), right]
    }
}

#[derive(Clone, Copy)]
enum Method {
    Words,
    Mix(Mixer),
    /// The same, with the topics covered.
    Topics(Mixer),
}

/// Questions with the vectors of all their texts.
fn embedded(embedder: &Embedder, seed: u64, count: u64) -> Result<Vec<(Question, Vec<f32>)>> {
    let mut questions: Vec<Question> = (0..count).map(|number| question(seed, number)).collect();
    let texts: Vec<&str> = questions
        .iter()
        .flat_map(|q| std::iter::once(q.text.as_str()).chain(q.documents.iter().map(|d| d.text.as_str())))
        .collect();
    let vectors = embedder.embed(&texts)?;
    let mut rows = vectors.chunks_exact(embedder.identity().width).map(<[f32]>::to_vec);
    let mut own = Vec::with_capacity(questions.len());
    for question in &mut questions {
        own.push(rows.next().unwrap_or_default());
        question.documents.iter_mut().for_each(|document| document.vector = rows.next().unwrap_or_default());
    }
    Ok(questions.into_iter().zip(own).collect())
}

/// BM25 (k1 = 1.2, b = 0.75) among the question's own documents.
fn bm25(question: &Question) -> Vec<f64> {
    let mut analyzer = Language::named("english").unwrap_or(Language::NONE).analyzer();
    let asked = terms(&mut analyzer, &question.text);
    let documents: Vec<Vec<String>> =
        question.documents.iter().map(|document| terms(&mut analyzer, &document.text)).collect();
    let count = documents.len() as f64;
    let mean = documents.iter().map(Vec::len).sum::<usize>() as f64 / count;
    let one = |document: &Vec<String>| {
        let part = |term: &String| {
            let having = documents.iter().filter(|d| d.contains(term)).count() as f64;
            let rarity = (1.0 + (count - having + 0.5) / (having + 0.5)).ln();
            let often = document.iter().filter(|t| *t == term).count() as f64;
            rarity * often * 2.2 / (often + 1.2 * (0.25 + 0.75 * document.len() as f64 / mean))
        };
        asked.iter().map(part).sum()
    };
    documents.iter().map(one).collect()
}
