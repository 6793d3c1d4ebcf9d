//! The command line: every flag is defined here once; help and checks come from it.

mod evidence;

use std::path::PathBuf;

use clap::builder::RangedU64ValueParser;
use clap::{Args, Parser, Subcommand, ValueEnum};

pub use evidence::*;

/// A count that can't be 0.
fn positive() -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(1..)
}

/// A school for reasoning models: teach them, let them reason, examine them.
#[derive(Debug, Parser)]
#[command(name = "lyceum", version, arg_required_else_help = true, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// Settings of every command.
    #[command(flatten)]
    pub global: Global,
}

/// Settings of every command.
#[derive(Debug, Args)]
pub struct Global {
    /// Print one JSON document for programs instead of text for people.
    #[arg(long, global = true)]
    pub json: bool,
    /// Threads to compute with; all cores when absent.
    #[arg(long, global = true, env = "LYCEUM_THREADS")]
    pub threads: Option<usize>,
    /// Highest instruction set to use; the best of this machine when absent.
    #[arg(long, global = true, env = "LYCEUM_CPU_LEVEL", value_enum)]
    pub cpu_level: Option<CpuLevel>,
}

/// Instruction sets of the kernels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum CpuLevel {
    /// Plain Rust.
    Portable,
    /// AVX2 and FMA.
    Avx2,
    /// AVX-512 F, BW, DQ, VL.
    Avx512,
    /// AVX-512 with bf16 products.
    Avx512Bf16,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Teach a small model from scratch, in minutes and without a download.
    Demo(DemoArgs),
    /// Train a model as a recipe says.
    Train(TrainArgs),
    /// Write traces of a recipe's model on its task, without training.
    Rollout(RolloutArgs),
    /// Talk with a model.
    Chat(ChatArgs),
    /// Complete a prompt, or a file of prompts.
    Generate(GenerateArgs),
    /// Examine a model on a task, or compare two examinations.
    Eval(EvalArgs),
    /// List the tasks, or check that one's gold answers are scored 1 and empty answers 0.
    #[command(subcommand)]
    Task(TaskCommand),
    /// Answer a question over evidence, and show what the answer stands on.
    Ask(AskArgs),
    /// One run of a study that trains no language model.
    #[command(hide = true)]
    Experiment(ExperimentArgs),
    /// Index texts and search them.
    #[command(subcommand)]
    Index(IndexCommand),
    /// Score what a system found, or what it answered over evidence.
    #[command(subcommand)]
    Score(ScoreCommand),
    /// Fetch, list and convert models.
    #[command(subcommand)]
    Model(ModelCommand),
    /// Fetch, list and find data sets.
    #[command(subcommand)]
    Data(DataCommand),
    /// List the papers and how far their studies are.
    Papers,
    /// Run a paper's study and judge its claims by what was measured.
    Reproduce(ReproduceArgs),
    /// Look at a run: curves, evaluations, sample traces.
    View(ViewArgs),
    /// Measure this machine's limits and how near the kernels come.
    Bench(BenchArgs),
}

/// Arguments of `demo`.
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// Folder for the demo's runs.
    #[arg(long, default_value = "runs/demo")]
    pub out: PathBuf,
    /// Seed of everything random.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// A run of seconds that checks the machinery; it teaches little.
    #[arg(long)]
    pub quick: bool,
}

/// Arguments of `train`.
#[derive(Debug, Args)]
pub struct TrainArgs {
    /// The recipe, a TOML file.
    #[arg(required_unless_present = "resume")]
    pub recipe: Option<PathBuf>,
    /// Replace a value of the recipe: `--set policy.samples=16`. May be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Continue this run from its last checkpoint.
    #[arg(long, value_name = "RUN", conflicts_with_all = ["recipe", "set", "out", "from_traces", "dry_run"])]
    pub resume: Option<PathBuf>,
    /// Run folder to write; `runs/<recipe name>-<n>` when absent.
    #[arg(long)]
    pub out: Option<PathBuf>,
    /// Print the resolved recipe, the memory plan and the expected time, and stop.
    #[arg(long)]
    pub dry_run: bool,
    /// Train on the rollouts of this file instead of new ones.
    #[arg(long, value_name = "FILE")]
    pub from_traces: Option<PathBuf>,
}

/// Arguments of `rollout`.
#[derive(Debug, Args)]
pub struct RolloutArgs {
    /// The recipe, a TOML file.
    pub recipe: PathBuf,
    /// Replace a value of the recipe. May be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Trace file to write, one JSON line a trace.
    #[arg(long)]
    pub out: PathBuf,
    /// Steps' worth of prompts to roll out.
    #[arg(long, default_value_t = 1)]
    pub steps: u64,
}

/// Which model, by name or place.
#[derive(Debug, Args)]
pub struct ModelArgs {
    /// A registered name, `hf:owner/name`, a folder, a .gguf file or a run.
    #[arg(long, default_value = "smollm2-135m-instruct-q4_1")]
    pub model: String,
    /// A LoRA adapter's folder to put on the model.
    #[arg(long)]
    pub adapter: Option<PathBuf>,
    /// Precision of products.
    #[arg(long, value_enum, default_value_t = PrecisionArg::Bf16)]
    pub precision: PrecisionArg,
}

/// A model behind an address, instead of one on this machine.
#[derive(Debug, Args)]
pub struct EndpointArgs {
    /// Ask the OpenAI-compatible server at this address instead, such as http://localhost:8080/v1.
    #[arg(long, value_name = "URL", conflicts_with_all = ["model", "adapter", "precision"])]
    pub endpoint: Option<String>,
    /// The kind of server: openai, vllm, sglang, llamacpp or ollama.
    #[arg(long, value_name = "KIND", default_value = "openai", requires = "endpoint")]
    pub endpoint_profile: lyceum_chat::Profile,
    /// The model's name there.
    #[arg(long, value_name = "NAME", default_value = "default", requires = "endpoint")]
    pub endpoint_model: String,
    /// The environment variable that holds the server's key.
    #[arg(long, value_name = "VARIABLE", requires = "endpoint")]
    pub endpoint_key_env: Option<String>,
    /// Keep the server's replies in this folder and take from it what was asked before.
    #[arg(long, value_name = "DIR", requires = "endpoint")]
    pub endpoint_cache: Option<PathBuf>,
}

/// Precision of products; sums are always f32.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum PrecisionArg {
    /// 32-bit operands.
    F32,
    /// 16-bit operands of 8 significant bits.
    Bf16,
}

/// How tokens are chosen.
#[derive(Debug, Args)]
pub struct SamplingArgs {
    /// Most new tokens of an answer.
    #[arg(long, default_value_t = 256, value_parser = positive())]
    pub max_new_tokens: usize,
    /// Logits are divided by this; 0 always takes the most probable token.
    #[arg(long, default_value_t = 0.0)]
    pub temperature: f32,
    /// Keep only the k most probable tokens; 0 keeps all.
    #[arg(long, default_value_t = 0)]
    pub top_k: usize,
    /// Keep the most probable tokens up to this probability.
    #[arg(long, default_value_t = 1.0)]
    pub top_p: f32,
    /// Drop tokens below this share of the most probable one.
    #[arg(long, default_value_t = 0.0)]
    pub min_p: f32,
    /// Make tokens already seen less likely; 1 does nothing.
    #[arg(long, default_value_t = 1.0)]
    pub repetition_penalty: f32,
    /// End the answer at this string. May be repeated.
    #[arg(long)]
    pub stop: Vec<String>,
    /// Seed of the samples.
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
}

/// Arguments of `chat`.
#[derive(Debug, Args)]
pub struct ChatArgs {
    /// A model's name or place, or a run.
    #[arg(default_value = "smollm2-135m-instruct-q4_1")]
    pub model: String,
    /// A LoRA adapter's folder to put on the model.
    #[arg(long)]
    pub adapter: Option<PathBuf>,
    /// Precision of products.
    #[arg(long, value_enum, default_value_t = PrecisionArg::Bf16)]
    pub precision: PrecisionArg,
    /// System message; the template's own when absent.
    #[arg(long)]
    pub system: Option<String>,
    /// How tokens are chosen.
    #[command(flatten)]
    pub sampling: SamplingArgs,
}

/// Arguments of `generate`.
#[derive(Debug, Args)]
pub struct GenerateArgs {
    /// The model.
    #[command(flatten)]
    pub model: ModelArgs,
    /// Or a model elsewhere.
    #[command(flatten)]
    pub endpoint: EndpointArgs,
    /// The prompt.
    #[arg(required_unless_present = "prompts")]
    pub prompt: Option<String>,
    /// A JSONL file of prompts: {"prompt": ...} or {"messages": [...]} a line.
    #[arg(long, conflicts_with = "prompt")]
    pub prompts: Option<PathBuf>,
    /// Answers per prompt.
    #[arg(short, long = "samples", default_value_t = 1)]
    pub n: usize,
    /// JSONL file to write the answers to.
    #[arg(long)]
    pub out: Option<PathBuf>,
    /// Give the prompt to the model as it is, without the chat template.
    #[arg(long, conflicts_with = "endpoint")]
    pub raw: bool,
    /// The answer must be one of these. May be repeated.
    #[arg(long)]
    pub choice: Vec<String>,
    /// Most answers computed at once.
    #[arg(long, default_value_t = 32)]
    pub batch: usize,
    /// How tokens are chosen.
    #[command(flatten)]
    pub sampling: SamplingArgs,
}

/// Arguments of `eval`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct EvalArgs {
    /// Compare two result files instead.
    #[command(subcommand)]
    pub command: Option<EvalCommand>,
    /// The task.
    #[arg(required = true)]
    pub task: Option<String>,
    /// The model.
    #[command(flatten)]
    pub model: ModelArgs,
    /// Or a model elsewhere.
    #[command(flatten)]
    pub endpoint: EndpointArgs,
    /// The task's options, as in a recipe: `--set steps=6`. May be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Which part of the task's data.
    #[arg(long, default_value = "test")]
    pub split: String,
    /// A JSONL file of your own problems for the task `jsonl`.
    #[arg(long)]
    pub data: Option<PathBuf>,
    /// Answers per problem; more than one samples at temperature 1 unless told otherwise.
    #[arg(long, default_value_t = 1)]
    pub samples: usize,
    /// A recipe whose table `[tools]` says what the model may call.
    #[arg(long, value_name = "RECIPE", conflicts_with = "endpoint")]
    pub tools: Option<PathBuf>,
    /// Most problems.
    #[arg(long)]
    pub limit: Option<usize>,
    /// JSON file for the results, item by item.
    #[arg(long)]
    pub out: Option<PathBuf>,
    /// Most answers computed at once.
    #[arg(long, default_value_t = 32)]
    pub batch: usize,
    /// A process reward model that chooses among the answers of a problem: prints how often its choice among the first 1,
    /// 2, 4, ... is right.
    #[arg(long, value_name = "MODEL", conflicts_with = "endpoint")]
    pub best_of: Option<String>,
    /// What ends a reasoning step for it.
    #[arg(long, value_name = "TEXT", default_value = "\n\n")]
    pub step_separator: String,
    /// How tokens are chosen.
    #[command(flatten)]
    pub sampling: SamplingArgs,
}

/// Subcommands of `eval`.
#[derive(Debug, Subcommand)]
pub enum EvalCommand {
    /// Compare two result files of one task, paired by problem.
    Diff {
        /// The first.
        a: PathBuf,
        /// The second.
        b: PathBuf,
    },
}

/// Subcommands of `task`.
#[derive(Debug, Subcommand)]
pub enum TaskCommand {
    /// List the tasks.
    List,
    /// Check tasks: gold answers must score 1, empty ones 0.
    Validate {
        /// The task; all that need no file of yours when absent.
        task: Option<String>,
        /// Problems to check of each split.
        #[arg(long, default_value_t = 200)]
        limit: usize,
    },
}

/// Subcommands of `model`.
#[derive(Debug, Subcommand)]
pub enum ModelCommand {
    /// List the registered models.
    List,
    /// Fetch a model into the cache.
    Pull {
        /// Its name.
        name: String,
    },
    /// Write a model as a folder in the Hugging Face layout.
    Convert {
        /// A name, folder, .gguf file or run.
        from: String,
        /// A LoRA adapter to merge into it.
        #[arg(long)]
        adapter: Option<PathBuf>,
        /// Folder to write.
        #[arg(long)]
        out: PathBuf,
        /// Number format of the weights.
        #[arg(long, value_enum, default_value_t = PrecisionArg::Bf16)]
        precision: PrecisionArg,
    },
}

/// Subcommands of `data`.
#[derive(Debug, Subcommand)]
pub enum DataCommand {
    /// List the data sets.
    List,
    /// Fetch a data set into the cache.
    Pull {
        /// Its name.
        name: String,
    },
    /// Print where a data set lies.
    Path {
        /// Its name.
        name: String,
    },
}

/// Arguments of `reproduce`.
#[derive(Debug, Args)]
pub struct ReproduceArgs {
    /// A paper that `lyceum papers` lists, or a folder with a study.toml of your own.
    #[arg(required_unless_present = "all")]
    pub study: Option<String>,
    /// Every paper that has a study, one after the other.
    #[arg(long, conflicts_with_all = ["study", "out"])]
    pub all: bool,
    /// Small runs that check the machinery in minutes and decide nothing.
    #[arg(long)]
    pub quick: bool,
    /// Seeds of every arm, from 1 on; a verdict takes at least 5.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub seeds: Option<u64>,
    /// Folder for the results; the study's `results`, or `reproduce/<paper>` outside the repository, when absent.
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Folder that holds data sets, as LYCEUM_DATA does.
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Runs at once, each on one thread; one a core when absent.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub jobs: Option<u64>,
}

/// Arguments of `view`.
#[derive(Debug, Args)]
pub struct ViewArgs {
    /// The run's folder.
    pub run: PathBuf,
}

/// Arguments of `bench`.
#[derive(Clone, Debug, Args)]
pub struct BenchArgs {
    /// What to measure; the machine's limits and the kernels' share of them when absent.
    #[arg(long, value_enum)]
    pub case: Option<BenchCase>,
    /// Measured rounds.
    #[arg(long, default_value_t = 3)]
    pub rounds: usize,
    /// Sequences (decode), or as the case says.
    #[arg(long)]
    pub batch: Option<usize>,
    /// New tokens of each sequence.
    #[arg(long, value_parser = positive())]
    pub new_tokens: Option<usize>,
    /// Prompts of the GRPO step.
    #[arg(long)]
    pub prompts: Option<usize>,
    /// Samples of each prompt in the GRPO step.
    #[arg(long)]
    pub samples: Option<usize>,
    /// The model.
    #[arg(long, default_value = "smollm2-135m-instruct-q4_1")]
    pub model: String,
    /// Precision of products.
    #[arg(long, value_enum, default_value_t = PrecisionArg::Bf16)]
    pub precision: PrecisionArg,
}

/// What `bench` measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum BenchCase {
    /// A training step, all parameters, 8 x 256 tokens.
    Train,
    /// The same with a LoRA adapter.
    Lora,
    /// Decoding 64 new tokens after prompts of 64.
    Decode,
    /// A whole GRPO step.
    Grpo,
    /// Matrix products.
    Gemm,
}
