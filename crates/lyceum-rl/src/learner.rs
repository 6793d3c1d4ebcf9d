//! A model under training: what is loaded, saved and taken up again.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use lyceum_engine::{Generator, Model, ModelRequest};
use lyceum_hub::Progress;
use lyceum_kernels::{Pool, Precision};
use lyceum_nn::checkpoint::{
    Dtype, Notes, TensorStore, open_safetensors, write_adapter, write_folder, write_safetensors,
};
use lyceum_nn::decoder::{KernelPolicy, Options, Training};
use lyceum_nn::lora::LoraConfig;
use lyceum_nn::optimizer::OptimizerState;
use lyceum_nn::params::is_value_head;
use lyceum_nn::policy::{Batch, NamedTensor, Policy, TokenStats};
use lyceum_run::{Checkpoint, CheckpointWriter, Layout};

use crate::recipe::{PolicySpec, PrecisionSpec, Recipe};
use crate::{Error, Result};

/// Folder of whole models in a checkpoint.
pub const MODEL: &str = "model";
/// Folder of adapters in a checkpoint.
pub const ADAPTER: &str = "adapter";
const STATE: &str = "optimizer.safetensors";
const COUNTS: &str = "optimizer.json";

/// A model under training, with the reference it may be held to.
#[derive(Debug)]
pub struct Learner {
    /// The model.
    pub model: Model,
    /// The model as it was before training, where a KL term needs it and no adapter can be switched off instead.
    reference: Option<KernelPolicy>,
    /// Whether it becomes a reward model, whose head belongs to its weights.
    judges: bool,
}

impl Learner {
    /// Loads the model of a recipe for training.
    ///
    /// # Errors
    /// [`Error::Engine`] for a model that can't be found, fetched or read.
    pub fn load(recipe: &Recipe, pool: &Arc<Pool>, progress: &dyn Progress) -> Result<Self> {
        let options = options(recipe);
        let name = place_of(&recipe.model.name)?;
        let request = |options| ModelRequest {
            name: name.clone(),
            adapter: None,
            options,
            preset_context: recipe.model.context,
        };
        let model = Model::load(request(options.clone()), Arc::clone(pool), progress)?;
        let needs_reference = recipe.policy.as_ref().is_some_and(PolicySpec::needs_reference)
            || recipe.pairs.as_ref().is_some_and(|pairs| pairs.loss.needs_reference());
        let reference = if needs_reference && matches!(model.policy.options().training, Training::Full) {
            let frozen = Options { training: Training::Frozen, value_head: false, ..options };
            Some(Model::load(request(frozen), Arc::clone(pool), progress)?.policy)
        } else {
            None
        };
        Ok(Self { model, reference, judges: is_judge(recipe) })
    }

    /// A generator over the weights as they are now.
    #[must_use]
    pub fn generator(&self, batch: usize) -> Generator<'_> {
        self.model.generator(batch)
    }

    /// The policy and a function that gives the reference's log-probabilities.
    pub fn with_reference(
        &mut self,
    ) -> (&mut KernelPolicy, impl Fn(&KernelPolicy, &Batch) -> lyceum_nn::Result<TokenStats> + '_) {
        let Self { model, reference, .. } = self;
        let reference = reference.as_ref();
        let ask = move |policy: &KernelPolicy, batch: &Batch| match reference {
            Some(reference) => reference.evaluate(batch),
            None => policy.evaluate_base(batch),
        };
        (&mut model.policy, ask)
    }

    /// Log-probabilities under the reference.
    ///
    /// # Errors
    /// Faults of the model.
    pub fn reference_logprobs(&self, batch: &Batch) -> lyceum_nn::Result<TokenStats> {
        match &self.reference {
            Some(reference) => reference.evaluate(batch),
            None => self.model.policy.evaluate_base(batch),
        }
    }

    /// Writes weights and optimiser state into a checkpoint. Weights are a folder that other programs load.
    ///
    /// # Errors
    /// [`Error::Run`] and [`Error::Model`] when a file can't be written.
    pub fn save(&self, writer: &mut CheckpointWriter) -> Result<()> {
        let policy = &self.model.policy;
        let name = if self.lora().is_some() { ADAPTER } else { MODEL };
        writer.folder(name, |folder| self.export(folder))?;
        let state = policy.optimizer_state();
        let own: Vec<NamedTensor<'_>> =
            policy.named_parameters().into_iter().filter(|t| is_value_head(t.name)).collect();
        let (first, second) = ([state.first.len()], [state.second.len()]);
        let mut tensors = vec![
            NamedTensor { name: "first", shape: &first, data: state.first },
            NamedTensor { name: "second", shape: &second, data: state.second },
        ];
        tensors.extend(own);
        writer
            .file::<Error>(STATE, |path| Ok(write_safetensors(path, &tensors, Dtype::F32, &Notes::new())?))?;
        writer.json(COUNTS, &state.step)?;
        Ok(())
    }

    /// Writes the weights in f32: a model's folder with its tokenizer, or an adapter's.
    ///
    /// # Errors
    /// [`Error::Model`] and [`Error::Engine`] when a file can't be written.
    pub fn export(&self, folder: &Path) -> Result<()> {
        let policy = &self.model.policy;
        let mut tensors = policy.named_parameters();
        // A critic is of use to its own run only; the head of a reward model is what it is for.
        tensors.retain(|t| !is_value_head(t.name) || self.judges);
        match self.lora() {
            Some(lora) => {
                let base = self.model.identity.name.as_str();
                write_adapter(folder, lora, Some(base), &tensors, Dtype::F32)?;
            }
            None => {
                write_folder(folder, policy.config(), &tensors, Dtype::F32)?;
                self.model.codec.tokenizer().save(folder).map_err(lyceum_engine::Error::Text)?;
            }
        }
        Ok(())
    }

    /// Takes weights and optimiser state back from a checkpoint.
    ///
    /// # Errors
    /// [`Error::Run`] and [`Error::Model`] when a file can't be read or belongs to another model.
    pub fn restore(&mut self, checkpoint: &Checkpoint) -> Result<()> {
        let weights = match self.lora() {
            Some(_) => format!("{ADAPTER}/adapter_model.safetensors"),
            None => format!("{MODEL}/model.safetensors"),
        };
        let (mut weights, _) = open_safetensors(&checkpoint.path(&weights)?)?;
        let (mut state, _) = open_safetensors(&checkpoint.path(STATE)?)?;
        let policy = &mut self.model.policy;
        let mut owned: Vec<(String, Vec<usize>, Vec<f32>)> = Vec::new();
        for tensor in policy.named_parameters() {
            let store: &mut TensorStore = if is_value_head(tensor.name) { &mut state } else { &mut weights };
            let stored = store.names().find(|name| name.ends_with(tensor.name)).map(str::to_owned);
            let data = store.read(stored.as_deref().unwrap_or(tensor.name))?;
            owned.push((tensor.name.to_owned(), tensor.shape.to_vec(), data));
        }
        let tensors: Vec<NamedTensor<'_>> =
            owned.iter().map(|(name, shape, data)| NamedTensor { name, shape, data }).collect();
        policy.load_parameters(&tensors)?;
        let (first, second) = (state.read("first")?, state.read("second")?);
        let step = checkpoint.json(COUNTS)?;
        policy.load_optimizer_state(OptimizerState { step, first: &first, second: &second })?;
        Ok(())
    }

    fn lora(&self) -> Option<&LoraConfig> {
        match &self.model.policy.options().training {
            Training::Lora(lora) => Some(lora),
            Training::Full | Training::Frozen => None,
        }
    }
}

/// Where the weights of a model that a recipe names are: those of a run, or the name itself.
///
/// # Errors
/// [`Error::Run`] when a run's folder can't be read.
pub fn place_of(name: &str) -> Result<String> {
    let run = weights_of(Path::new(name))?;
    Ok(run.map_or_else(|| name.to_owned(), |folder| folder.to_string_lossy().into_owned()))
}

/// The weights of a run as other programs and recipes load them: those of the best checkpoint, else of the newest.
/// `None` for a folder that is no run, or a run without a checkpoint.
///
/// # Errors
/// [`Error::Run`] when the folder can't be read.
pub fn weights_of(run: &Path) -> Result<Option<PathBuf>> {
    let Ok(layout) = Layout::existing(run) else { return Ok(None) };
    let best = layout.checkpoints().join("best");
    let newest = layout.checkpoint_steps()?.last().map(|step| layout.checkpoint(*step));
    let checkpoints = std::iter::once(best).chain(newest);
    let mut folders = checkpoints.flat_map(|checkpoint| [MODEL, ADAPTER].map(|name| checkpoint.join(name)));
    Ok(folders.find(|folder| folder.is_dir()))
}

/// Whether the recipe makes a model whose head judges: steps, or whole answers.
fn is_judge(recipe: &Recipe) -> bool {
    recipe.labels.is_some() || recipe.pairs.as_ref().is_some_and(|pairs| pairs.loss.scores_by_value())
}

/// How the recipe's policy works.
#[must_use]
pub fn options(recipe: &Recipe) -> Options {
    let training = match &recipe.model.lora {
        Some(lora) => {
            let config = LoraConfig { rank: lora.rank, alpha: lora.alpha, targets: lora.targets.clone() };
            Training::Lora(config)
        }
        None => Training::Full,
    };
    Options {
        precision: match recipe.model.precision {
            PrecisionSpec::F32 => Precision::F32,
            PrecisionSpec::Bf16 => Precision::Bf16,
        },
        training,
        value_head: is_judge(recipe) || recipe.policy.as_ref().is_some_and(|p| p.advantage.needs_critic()),
        checkpointing: recipe.model.checkpointing,
        seed: recipe.seed,
        ..Options::default()
    }
}
