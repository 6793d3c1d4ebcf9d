//! Arguments of `index`, `score` and `ask`: what has to do with evidence.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::positive;

/// Subcommands of `index`.
#[derive(Debug, Subcommand)]
pub enum IndexCommand {
    /// Index a corpus: JSON lines with id, text and perhaps a title. What is there already unchanged is left; a build that
    /// was cut off goes on when it is started again.
    Build(BuildArgs),
    /// Find documents for a question, or for a file of them.
    Search(SearchArgs),
    /// Take documents out by id.
    Delete {
        /// The index's folder.
        index: PathBuf,
        /// Ids.
        #[arg(required = true)]
        ids: Vec<String>,
    },
    /// Compare every file of an index with its checksum.
    Check {
        /// The index's folder.
        index: PathBuf,
    },
}

/// Arguments of `index build`.
#[derive(Debug, Args)]
pub struct BuildArgs {
    /// The corpus.
    pub corpus: PathBuf,
    /// The index's folder.
    #[arg(long)]
    pub out: PathBuf,
    /// Whose words are stemmed; `none` suits all languages.
    #[arg(long, default_value = "english")]
    pub language: String,
    /// The encoder of vectors; `none` makes an index for bm25 alone.
    #[arg(long, default_value = ENCODER)]
    pub encoder: String,
}

/// The encoder that is used unless told otherwise.
pub const ENCODER: &str = "all-minilm-l6-v2";

/// Arguments of `index search`.
#[derive(Debug, Args)]
pub struct SearchArgs {
    /// The index's folder.
    pub index: PathBuf,
    /// The question.
    #[arg(required_unless_present = "queries")]
    pub query: Option<String>,
    /// Documents to find.
    #[arg(short, default_value_t = 10, value_parser = positive())]
    pub k: usize,
    /// bm25, dense, hybrid, or weighted:SHARE of the dense side; hybrid where there are vectors, else bm25, when absent.
    #[arg(long)]
    pub mode: Option<String>,
    /// A JSONL file of questions: {"id": ..., "query": ...} a line.
    #[arg(long, conflicts_with = "query", requires = "run")]
    pub queries: Option<PathBuf>,
    /// TREC run file to write.
    #[arg(long, requires = "queries")]
    pub run: Option<PathBuf>,
}

/// Subcommands of `score`.
#[derive(Debug, Subcommand)]
pub enum ScoreCommand {
    /// Score a TREC run by relevance judgements, with trec_eval's conventions.
    Retrieval(ScoreRetrievalArgs),
    /// Score answers over evidence: JSON lines with question, contexts, answer, reference.
    Rag(ScoreRagArgs),
}

/// Arguments of `score retrieval`.
#[derive(Debug, Args)]
pub struct ScoreRetrievalArgs {
    /// The run: query Q0 document rank score tag.
    #[arg(long)]
    pub run: PathBuf,
    /// The judgements: query 0 document grade.
    #[arg(long)]
    pub qrels: PathBuf,
    /// A metric, by our name or trec_eval's: ndcg@10, map, recip_rank, P_5. May be repeated.
    #[arg(long = "metric")]
    pub metrics: Vec<String>,
    /// Count judged queries that the run lacks as 0 (trec_eval's -c).
    #[arg(long)]
    pub complete: bool,
    /// Another run, to be compared with query by query.
    #[arg(long, value_name = "RUN")]
    pub against: Option<PathBuf>,
    /// JSON file for the results, query by query.
    #[arg(long)]
    pub out: Option<PathBuf>,
}

/// What decides whether a claim follows from a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum JudgeArg {
    /// The claim stands in the text.
    Exact,
    /// The text has the claim's words.
    Lexical,
}

/// Arguments of `score rag`.
#[derive(Debug, Args)]
pub struct ScoreRagArgs {
    /// The answers: {"question", "contexts": [...], "answer", "reference"} a line.
    #[arg(long)]
    pub data: PathBuf,
    /// What decides whether a claim follows from a text.
    #[arg(long, value_enum, default_value_t = JudgeArg::Lexical)]
    pub judge: JudgeArg,
    /// From which probability on it follows.
    #[arg(long, default_value_t = 0.7)]
    pub threshold: f64,
    /// Another system's answers to the same questions, to be compared with row by row.
    #[arg(long, value_name = "FILE")]
    pub against: Option<PathBuf>,
    /// JSON file for the results, row by row.
    #[arg(long)]
    pub out: Option<PathBuf>,
    /// HTML page for the results.
    #[arg(long)]
    pub html: Option<PathBuf>,
}

/// Arguments of `experiment`: a run of a study that trains no language model. `reproduce` calls it.
#[derive(Debug, Args)]
pub struct ExperimentArgs {
    /// The recipe, a TOML file.
    pub recipe: PathBuf,
    /// Replace a value of the recipe. May be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Folder to write.
    #[arg(long)]
    pub out: PathBuf,
}

/// How a question is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum AskMethod {
    /// Evidence scored from several views (arXiv 2504.14917).
    Polyrag,
}

/// Arguments of `ask`.
#[derive(Debug, Args)]
pub struct AskArgs {
    /// The method.
    #[arg(value_enum)]
    pub method: AskMethod,
    /// The question.
    pub question: String,
    /// The index to find evidence in.
    #[arg(long)]
    pub index: PathBuf,
    /// Documents that the answer stands on.
    #[arg(short, default_value_t = 3, value_parser = positive())]
    pub k: usize,
    /// Documents that are looked at.
    #[arg(long, default_value_t = 12, value_parser = positive())]
    pub candidates: usize,
    /// Weights of relevance, utility, supplement, authority, timeliness and commonality; the paper's when absent.
    #[arg(long, value_delimiter = ',', num_args = 6)]
    pub weights: Option<Vec<f64>>,
    /// Mix as a product of powers instead of a sum.
    #[arg(long)]
    pub log_linear: bool,
    /// Years after which a document is half as timely.
    #[arg(long, default_value_t = 2.0)]
    pub half_life: f64,
    /// A server that answers instead of the model.
    #[command(flatten)]
    pub endpoint: super::EndpointArgs,
    /// The model.
    #[command(flatten)]
    pub model: super::ModelArgs,
    /// Most new tokens of the answer.
    #[arg(long, default_value_t = 128, value_parser = positive())]
    pub max_new_tokens: usize,
    /// Trace file to write: the question, the evidence with its views, the answer.
    #[arg(long)]
    pub trace: Option<PathBuf>,
}
