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
use crate::params::{Layout, VALUE_BIAS, VALUE_WEIGHT};
use crate::{Error, Result};
use std::path::{Path, PathBuf};

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

    /// Reads all weights of `layout` as one flat vector. A value head that the file lacks starts at zero.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] if a tensor is missing, has another shape, holds a number that is not finite, or if the
    /// file has a tensor which the model would ignore.
    pub fn load(&mut self, layout: &Layout) -> Result<Vec<f32>> {
        let refuse = |problem: String| Error::Checkpoint { path: self.path.clone(), problem };
        let ignorable = |name: &str| {
            // Old files store rope's constants; some with tied embeddings store the matrix twice.
            name.ends_with("rotary_emb.inv_freq")
                || (name == "lm_head.weight" && self.config.tied_embeddings)
                || [VALUE_WEIGHT, VALUE_BIAS].contains(&name)
        };
        if let Some(name) = self.tensors.names().find(|name| layout.entry(name).is_none() && !ignorable(name))
        {
            return Err(refuse(format!(
                "holds tensor {name:?}, which a {} does not have; the configuration and the weights do not belong \
                 together, or the model has a part that is not implemented",
                self.config.family.architecture()
            )));
        }
        let mut wanted = Vec::new();
        for entry in layout.entries() {
            match self.tensors.shape(&entry.name) {
                Some(shape) if shape == entry.shape => wanted.push(entry),
                None if [VALUE_WEIGHT, VALUE_BIAS].contains(&entry.name.as_str()) => {}
                None => return Err(refuse(format!("lacks tensor {:?}; fetch the whole model", entry.name))),
                Some(shape) => {
                    return Err(refuse(format!(
                        "tensor {:?} has shape {shape:?}; the configuration demands {:?}",
                        entry.name, entry.shape
                    )));
                }
            }
        }
        // All shapes are in the file, so this allocation is bounded by the file's size.
        let mut flat = vec![0.0; layout.len()];
        for entry in wanted {
            self.tensors.read_into(&entry.name, &mut flat[entry.range()])?;
        }
        Ok(flat)
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
