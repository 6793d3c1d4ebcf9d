//! The papers the program knows.

use std::path::{Path, PathBuf};

use lyceum_run::nearest;
use serde::Serialize;

use crate::{Error, Result, Study};

/// A paper, and how far its study is.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Paper {
    /// Its short name.
    pub name: &'static str,
    /// Its number at arXiv.
    pub arxiv: &'static str,
    /// Its title.
    pub title: &'static str,
    /// How far its study is.
    pub status: Status,
    /// Where in the repository its card is.
    pub card: Option<&'static str>,
    /// The study's files, name and text: built in, so that an installed program has them anywhere.
    #[serde(skip)]
    pub files: &'static [(&'static str, &'static str)],
}

/// How far a study is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// Its claims are judged.
    Works,
    /// Some of it runs.
    Partial,
    /// Nothing of it runs.
    Planned,
}

impl Status {
    /// In a word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Works => "works",
            Self::Partial => "partial",
            Self::Planned => "planned",
        }
    }
}

/// The files of `papers/<name>`, built in: `embedded!("pure", "study.toml", "rl.toml")`.
macro_rules! embedded {
    ($paper:literal, $($file:literal),+ $(,)?) => {
        &[$(($file, include_str!(concat!("../../../papers/", $paper, "/", $file)))),+]
    };
}

const fn planned(name: &'static str, arxiv: &'static str, title: &'static str) -> Paper {
    Paper { name, arxiv, title, status: Status::Planned, card: None, files: &[] }
}

/// All of them.
pub const PAPERS: [Paper; 20] = [
    Paper {
        status: Status::Works,
        card: Some("papers/pure/README.md"),
        files: embedded!("pure", "study.toml", "sft.toml", "prm.toml", "probe.toml", "rl.toml"),
        ..planned(
            "pure",
            "2504.15275",
            "Stop Summation: Min-Form Credit Assignment Is All Process Reward Model Needs for Reasoning",
        )
    },
    Paper {
        status: Status::Works,
        card: Some("papers/otc/README.md"),
        files: embedded!(
            "otc",
            "study.toml",
            "tools.toml",
            "policy.toml",
            "rl.toml",
            "smollm2-sft.toml",
            "smollm2.toml"
        ),
        ..planned("otc", "2504.14870", "OTC: Optimal Tool Calls via Reinforcement Learning")
    },
    Paper {
        status: Status::Works,
        card: Some("papers/rrl/README.md"),
        files: embedded!("rrl", "study.toml", "skill.toml", "policy.toml", "rl.toml", "grpo.toml"),
        ..planned(
            "rrl",
            "2504.14363",
            "Improving RL Exploration for LLM Reasoning through Retrospective Replay",
        )
    },
    Paper {
        status: Status::Works,
        card: Some("papers/srpo/README.md"),
        files: embedded!("srpo", "study.toml", "skill.toml", "policy.toml", "rl.toml"),
        ..planned(
            "srpo",
            "2504.14286",
            "SRPO: A Cross-Domain Implementation of Large-Scale Reinforcement Learning on LLM",
        )
    },
    Paper {
        status: Status::Works,
        card: Some("papers/dar/README.md"),
        files: embedded!("dar", "study.toml", "sft.toml", "rl.toml"),
        ..planned("dar", "2504.14177", "Direct Advantage Regression: Aligning LLMs with Online AI Reward")
    },
    planned(
        "hf4rec",
        "2504.14147",
        "HF4Rec: Human-Like Feedback-Driven Optimization Framework for Explainable Recommendation",
    ),
    planned("mrguard", "2504.15241", "MrGuard: A Multilingual Reasoning Guardrail for Universal LLM Safety"),
    planned("flowreasoner", "2504.15257", "FlowReasoner: Reinforcing Query-Level Meta-Agents"),
    Paper {
        status: Status::Works,
        card: Some("papers/polyrag/README.md"),
        files: embedded!("polyrag", "study.toml", "world.toml"),
        ..planned(
            "polyrag",
            "2504.14917",
            "POLYRAG: Integrating Polyviews into Retrieval-Augmented Generation for Medical Applications",
        )
    },
    planned(
        "crave",
        "2504.14905",
        "CRAVE: A Conflicting Reasoning Approach for Explainable Claim Verification Using LLMs",
    ),
    Paper {
        status: Status::Works,
        card: Some("papers/rag-evaluation/README.md"),
        files: embedded!("rag-evaluation", "study.toml", "data.toml"),
        ..planned(
            "rag-evaluation",
            "2504.14891",
            "Retrieval Augmented Generation Evaluation in the Era of Large Language Models: A Comprehensive Survey",
        )
    },
    planned(
        "alignrag",
        "2504.14858",
        "AlignRAG: Leveraging Critique Learning for Evidence-Sensitive Retrieval-Augmented Reasoning",
    ),
    planned(
        "colota",
        "2504.14462",
        "CoLoTa: A Dataset for Entity-based Commonsense Reasoning over Long-Tail Knowledge",
    ),
    planned(
        "hydra",
        "2504.14395",
        "Hydra: An Agentic Reasoning Approach for Enhancing Adversarial Robustness and Mitigating Hallucinations in \
         Vision-Language Models",
    ),
    planned(
        "mgrnet",
        "2504.14847",
        "Reliable Multi-Modal Object Re-Identification via Modality-Aware Graph Reasoning",
    ),
    planned(
        "relation-r1",
        "2504.14642",
        "Relation-R1: Cognitive Chain-of-Thought Guided Reinforcement Learning for Unified Relational Comprehension",
    ),
    planned("alphazero-edu", "2504.14636", "AlphaZero-Edu: Making AlphaZero Accessible to Everyone"),
    planned(
        "reasoningv",
        "2504.14560",
        "ReasoningV: Efficient Verilog Code Generation with Adaptive Hybrid Reasoning Model",
    ),
    planned(
        "dvbench",
        "2504.14526",
        "Are Vision LLMs Road-Ready? A Comprehensive Benchmark for Safety-Critical Driving Video Understanding",
    ),
    planned(
        "infigui-r1",
        "2504.14239",
        "InfiGUI-R1: Advancing Multimodal GUI Agents from Reactive Actors to Deliberative Reasoners",
    ),
];

/// A paper by name.
///
/// # Errors
/// [`Error::Unknown`], with the nearest name.
pub fn paper(name: &str) -> Result<&'static Paper> {
    PAPERS.iter().find(|paper| paper.name == name).ok_or_else(|| {
        let near = nearest(name, PAPERS.iter().map(|paper| paper.name));
        let near = near.map_or_else(String::new, |name| format!("; did you mean `{name}`?"));
        Error::Unknown(format!("no paper and no folder with a study.toml is called {name:?}{near} `lyceum papers` lists the papers"))
    })
}

impl Paper {
    /// Writes the built-in study into a folder of its name below `work`, and reads it there.
    ///
    /// # Errors
    /// [`Error::Unknown`] if the paper has no study yet; [`Error::Io`], [`Error::Run`].
    pub fn unpack(&self, work: &Path) -> Result<Study> {
        if self.files.is_empty() {
            let text = format!("{} has no study yet; `lyceum papers` tells which have", self.name);
            return Err(Error::Unknown(text));
        }
        let folder: PathBuf = work.join("study").join(self.name);
        std::fs::create_dir_all(&folder).map_err(Error::io("make the folder", &folder))?;
        for (name, text) in self.files {
            lyceum_run::write_file(&folder.join(name), text.as_bytes())?;
        }
        Study::read(&folder)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn twenty_and_each_once() {
        for of in [|paper: &Paper| paper.name, |paper: &Paper| paper.arxiv, |paper: &Paper| paper.title] {
            assert_eq!(PAPERS.iter().map(of).collect::<BTreeSet<_>>().len(), 20);
        }
        let said = paper("flowreasonr").unwrap_err().to_string();
        assert!(said.contains("`flowreasoner`"), "{said}");
    }

    /// A recipe that is in the repository and not in the program would be missing where the program is installed.
    #[test]
    fn every_file_of_a_study_is_built_in() {
        let papers = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../papers");
        let work = tempfile::tempdir().unwrap();
        for paper in PAPERS {
            let names_in = |folder: &Path| -> BTreeSet<String> {
                let Ok(entries) = std::fs::read_dir(folder) else { return BTreeSet::new() };
                let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
                names.filter(|name| name.ends_with(".toml")).collect()
            };
            let there = names_in(&papers.join(paper.name));
            let built_in: BTreeSet<String> = paper.files.iter().map(|file| file.0.to_owned()).collect();
            assert_eq!(there, built_in, "papers/{} and its row in registry.rs", paper.name);
            if !paper.files.is_empty() {
                paper.unpack(work.path()).unwrap();
            }
            if let Some(card) = paper.card {
                assert!(papers.join("..").join(card).is_file(), "{card}");
            }
        }
    }
}
