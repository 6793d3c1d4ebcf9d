//! Model files: Hugging Face folders, PEFT adapters, GGUF.
//!
//! [`Checkpoint::open`] reads any of the model formats; what follows sees one thing: a configuration, and tensors by
//! Hugging Face name as f32. Bytes are not trusted: every length is checked against the file, and numbers that are not
//! finite are refused.

mod adapter;
mod atomic;
mod encoding;
mod folder;
mod gguf;
mod gguf_model;
mod safetensors;
mod tensor_store;

pub use adapter::{Adapter, AdapterTensor, read_adapter, write_adapter};
pub use encoding::{Dtype, Encoding};
pub use folder::write_folder;
pub use gguf::{Gguf, Value, open_gguf, parse_gguf};
pub use gguf_model::GgufTokenizer;
pub use safetensors::{Notes, open_safetensors, parse_safetensors_header, write_safetensors};
pub use tensor_store::TensorStore;

use crate::config::DecoderConfig;
use crate::decoder::{KernelPolicy, Options};
use crate::params::{Entry, Layout, VALUE_BIAS, VALUE_WEIGHT, is_value_head};
use crate::policy::{NamedTensor, Policy};
use crate::{Error, Result};
use lyceum_kernels::Pool;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A model on disk, opened: configuration and header are read, weights not yet.
#[derive(Debug)]
pub struct Checkpoint {
    /// The folder or file.
    pub path: PathBuf,
    /// The model's shape.
    pub config: DecoderConfig,
    /// Weights under Hugging Face names.
    pub tensors: TensorStore,
    /// The tokenizer inside a GGUF file. A folder has tokenizer files instead.
    pub tokenizer: Option<GgufTokenizer>,
}

impl Checkpoint {
    /// Opens a folder in the Hugging Face layout (config.json with model.safetensors, or with the shards that
    /// model.safetensors.index.json names) or a GGUF file.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Config`] or [`Error::Checkpoint`]: the message names the file and what to do.
    pub fn open(path: &Path) -> Result<Self> {
        if path.is_dir() { folder::open_folder(path) } else { open_gguf_model(path) }
    }

    /// Checks that the file holds what `layout` wants, in its shapes, and nothing that the model would ignore.
    /// A value head may be missing.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] naming the tensor.
    pub fn check(&self, layout: &Layout) -> Result<()> {
        let refuse = |problem: String| Err(Error::Checkpoint { path: self.path.clone(), problem });
        let ignorable = |name: &str| {
            // Old files store rope's constants; some with tied embeddings store the matrix twice.
            name.ends_with("rotary_emb.inv_freq")
                || (name == "lm_head.weight" && self.config.tied_embeddings)
                || is_value_head(name)
        };
        if let Some(name) = self.tensors.names().find(|name| layout.entry(name).is_none() && !ignorable(name))
        {
            return refuse(format!(
                "holds tensor {name:?}, which a {} does not have; the configuration and the weights do not belong \
                 together, or the model has a part that is not implemented",
                self.config.family.architecture()
            ));
        }
        for entry in layout.entries() {
            match self.tensors.shape(&entry.name) {
                Some(shape) if shape == entry.shape => {}
                None if is_value_head(&entry.name) => {}
                None => return refuse(format!("lacks tensor {:?}; fetch the whole model", entry.name)),
                Some(shape) => {
                    return refuse(format!(
                        "tensor {:?} has shape {shape:?}; the configuration demands {:?}",
                        entry.name, entry.shape
                    ));
                }
            }
        }
        Ok(())
    }

    /// Reads one tensor of a layout that was [`check`](Self::check)ed. A value head that the file lacks stays as it
    /// is.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] for a number that is not finite; [`Error::Io`].
    pub fn read(&mut self, entry: &Entry, out: &mut [f32]) -> Result<()> {
        if is_value_head(&entry.name) && self.tensors.shape(&entry.name).is_none() {
            return Ok(());
        }
        self.tensors.read_into(&entry.name, out)
    }

    /// Builds the model: checks the file and reads its weights, a stored value head among them if one is wanted.
    ///
    /// # Errors
    /// As [`check`](Self::check) and [`KernelPolicy::new`]; [`Error::Checkpoint`] for numbers that are not finite.
    pub fn into_policy(mut self, options: Options, pool: Arc<Pool>) -> Result<KernelPolicy> {
        self.check(&Layout::new(&self.config, options.value_head))?;
        let value_head = options.value_head && self.tensors.shape(VALUE_WEIGHT).is_some();
        let tensors = &mut self.tensors;
        let mut policy = KernelPolicy::new(self.config, options, pool, &mut |entry, out| {
            tensors.read_into(&entry.name, out)
        })?;
        if value_head {
            let (weight, bias) = (tensors.read(VALUE_WEIGHT)?, tensors.read(VALUE_BIAS)?);
            let named = |name, data| NamedTensor { name, shape: &[], data };
            policy.load_parameters(&[named(VALUE_WEIGHT, &weight), named(VALUE_BIAS, &bias)])?;
        }
        Ok(policy)
    }
}

fn open_gguf_model(path: &Path) -> Result<Checkpoint> {
    let (file, gguf) = open_gguf(path)?;
    let in_file = |e| match e {
        Error::Config(problem) => Error::Checkpoint { path: path.to_owned(), problem },
        other => other,
    };
    let clone =
        file.try_clone().map_err(|source| Error::Io { action: "read", path: path.to_owned(), source })?;
    let mut as_stored = TensorStore::default();
    as_stored.add(path, clone, gguf.tensors.clone());
    let config = gguf_model::config_of(&gguf, &mut as_stored).map_err(in_file)?;
    let mut tensors = TensorStore::default();
    tensors.add(path, file, gguf_model::hugging_face_tensors(&gguf, &config));
    Ok(Checkpoint { path: path.to_owned(), config, tensors, tokenizer: GgufTokenizer::from_gguf(&gguf) })
}
