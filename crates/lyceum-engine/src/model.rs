//! A model ready to work: weights, tokenizer, template, fingerprint.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use lyceum_hub::{Kind, Progress};
use lyceum_kernels::Pool;
use lyceum_nn::checkpoint::{Checkpoint, GgufTokenizer, read_adapter};
use lyceum_nn::decoder::{KernelPolicy, Options, Training};
use lyceum_nn::policy::Policy;
use lyceum_nn::presets;
use lyceum_text::{ControlTokens, GgufVocabulary, Tokenizer};

use crate::codec::Codec;
use crate::generate::Generator;
use crate::{Error, Result};

/// A model with everything that goes with it.
#[derive(Debug)]
pub struct Model {
    /// The weights, trainable as the options said.
    pub policy: KernelPolicy,
    /// Its tokenizer and template.
    pub codec: Codec,
    /// Which weights these are.
    pub identity: Identity,
}

/// Which weights: enough to refuse others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The name or place it was asked for by.
    pub name: String,
    /// SHA-256 of the weights' file, or the seed of random weights.
    pub fingerprint: String,
}

/// What to load and how.
#[derive(Clone, Debug)]
pub struct ModelRequest {
    /// A registered name, `hf:owner/name`, a folder, a .gguf file or a preset.
    pub name: String,
    /// An adapter's folder to put on it.
    pub adapter: Option<PathBuf>,
    /// How the policy works.
    pub options: Options,
    /// Context length of a preset.
    pub preset_context: usize,
}

impl Model {
    /// Finds, fetches if need be, and loads a model. A preset gets random weights of the options' seed and a
    /// vocabulary of bytes.
    ///
    /// # Errors
    /// [`Error::Hub`] if it can't be found or fetched; [`Error::Model`] and [`Error::Text`] for damaged files;
    /// [`Error::Folder`] for a folder that lacks something.
    pub fn load(request: ModelRequest, pool: Arc<Pool>, progress: &dyn Progress) -> Result<Self> {
        let ModelRequest { name, adapter, mut options, preset_context } = request;
        if presets::PRESETS.contains(&name.as_str()) {
            return Self::random(&name, options, preset_context, pool);
        }
        let mut located = lyceum_hub::resolve(&name, progress)?;
        let mut adapter = adapter;
        if adapter.is_none() && located.kind == Kind::Folder && is_adapter(&located.path) {
            // An adapter's folder names its base model.
            let read = read_adapter(&located.path)?;
            let Some(base) = read.base_model else {
                let cause = "the adapter does not name its base model; give the base and --adapter".into();
                return Err(Error::Folder { path: located.path, cause });
            };
            adapter = Some(located.path);
            located = lyceum_hub::resolve(&base, progress)?;
        }
        let adapter = adapter.map(|folder| read_adapter(&folder)).transpose()?;
        if let Some(adapter) = &adapter {
            options.training = Training::Lora(adapter.lora.clone());
        }
        let mut checkpoint = Checkpoint::open(&located.path)?;
        let tokenizer = match checkpoint.tokenizer.take() {
            Some(vocabulary) => Tokenizer::from_gguf(&vocabulary_of(vocabulary))?,
            None => Tokenizer::from_folder(&located.path)?,
        };
        tokenizer.check_model(checkpoint.config.vocab_size)?;
        let mut policy = checkpoint.into_policy(options, pool)?;
        if let Some(adapter) = &adapter {
            policy.load_parameters(&adapter.named())?;
        }
        let identity = Identity { name, fingerprint: located.sha256 };
        Ok(Self { policy, codec: Codec::new(tokenizer)?, identity })
    }

    fn random(preset: &str, options: Options, context: usize, pool: Arc<Pool>) -> Result<Self> {
        let control = ControlTokens { more: Vec::new(), ..ControlTokens::default() };
        let tokenizer = Tokenizer::bytes(&control)?;
        let Some(mut config) = presets::preset(preset, tokenizer.vocab_size()) else {
            let cause = format!("is no preset; presets are {}", presets::PRESETS.join(", "));
            return Err(Error::Folder { path: preset.into(), cause });
        };
        config.max_positions = context;
        let seed = options.seed;
        let policy = KernelPolicy::random(config, options, pool, seed)?;
        let identity =
            Identity { name: preset.into(), fingerprint: format!("random weights of seed {seed}") };
        Ok(Self { policy, codec: Codec::new(tokenizer)?, identity })
    }

    /// A generator over this model's weights.
    #[must_use]
    pub fn generator(&self, batch: usize) -> Generator<'_> {
        Generator::new(self.policy.decoder(), self.codec.tokenizer(), batch)
    }
}

fn is_adapter(folder: &Path) -> bool {
    folder.join("adapter_config.json").is_file()
}

fn vocabulary_of(file: GgufTokenizer) -> GgufVocabulary {
    GgufVocabulary {
        model: file.model,
        pre: file.pre,
        tokens: file.tokens,
        token_types: file.token_types,
        scores: file.scores,
        merges: file.merges,
        bos: file.bos,
        eos: file.eos,
        eot: file.eot,
        pad: file.pad,
        unk: file.unknown,
        add_bos: file.add_bos,
        add_space_prefix: file.add_space_prefix,
        chat_template: file.chat_template,
    }
}
