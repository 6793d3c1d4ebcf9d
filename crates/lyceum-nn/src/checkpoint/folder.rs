//! The Hugging Face folder: `config.json` with `model.safetensors`, or with shards and their index.

use super::Checkpoint;
use super::atomic::write_atomically;
use super::encoding::Dtype;
use super::safetensors::{Notes, add_safetensors, write_safetensors};
use super::tensor_store::TensorStore;
use crate::config::DecoderConfig;
use crate::policy::NamedTensor;
use crate::{Error, Result};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Component, Path};

const CONFIG: &str = "config.json";
const WEIGHTS: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";
/// Larger JSON files are not configurations; they are not read.
const LONGEST_JSON: u64 = 64 << 20;

/// The index of a model in several files: which file holds which tensor.
#[derive(Deserialize)]
struct ShardIndex {
    weight_map: BTreeMap<String, String>,
}

pub(super) fn open_folder(folder: &Path) -> Result<Checkpoint> {
    let config_path = folder.join(CONFIG);
    let config = DecoderConfig::from_json(&read_text(&config_path)?).map_err(|e| match e {
        Error::Config(problem) => Error::Checkpoint { path: config_path, problem },
        other => other,
    })?;
    let mut tensors = TensorStore::default();
    let single = folder.join(WEIGHTS);
    let index_path = folder.join(INDEX);
    if single.is_file() {
        add_safetensors(&mut tensors, &single)?;
    } else if index_path.is_file() {
        add_shards(&mut tensors, folder, &index_path)?;
    } else {
        return Err(Error::Checkpoint {
            path: folder.to_owned(),
            problem: format!("has neither {WEIGHTS} nor {INDEX}; convert the weights to safetensors"),
        });
    }
    Ok(Checkpoint { path: folder.to_owned(), config, tensors, tokenizer: None })
}

fn add_shards(tensors: &mut TensorStore, folder: &Path, index_path: &Path) -> Result<()> {
    let refuse = |problem: String| Error::Checkpoint { path: index_path.to_owned(), problem };
    let index: ShardIndex = serde_json::from_str(&read_text(index_path)?)
        .map_err(|e| refuse(format!("is not a safetensors index: {e}; fetch it again")))?;
    let shards: BTreeSet<&str> = index.weight_map.values().map(String::as_str).collect();
    for shard in shards {
        // An index comes from outside: it may name files of its own folder only.
        let plain = Path::new(shard).components().map(|c| matches!(c, Component::Normal(_)));
        if plain.collect::<Vec<_>>() != [true] {
            return Err(refuse(format!("names the file {shard:?}; only files in the same folder are read")));
        }
        add_safetensors(tensors, &folder.join(shard))?;
    }
    if let Some((name, shard)) = index.weight_map.iter().find(|(name, _)| tensors.shape(name).is_none()) {
        return Err(refuse(format!(
            "says that {shard} holds tensor {name:?}, but it does not; fetch it again"
        )));
    }
    Ok(())
}

/// Writes `config.json` and `model.safetensors` to `folder`, which is made if need be. Each file is there whole or not
/// at all; tokenizer files are the caller's.
///
/// # Errors
/// As [`write_safetensors`].
pub fn write_folder(
    folder: &Path,
    config: &DecoderConfig,
    tensors: &[NamedTensor<'_>],
    dtype: Dtype,
) -> Result<()> {
    make_folder(folder)?;
    write_safetensors(&folder.join(WEIGHTS), tensors, dtype, &Notes::new())?;
    write_json(&folder.join(CONFIG), &config.to_json(dtype.torch_name()))
}

pub(super) fn make_folder(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).map_err(|source| Error::Io {
        action: "create",
        path: folder.to_owned(),
        source,
    })
}

pub(super) fn write_json(path: &Path, value: &serde_json::Value) -> Result<()> {
    write_atomically(path, |out| writeln!(out, "{value:#}"))
}

pub(super) fn read_text(path: &Path) -> Result<String> {
    let io_error = |source| Error::Io { action: "read", path: path.to_owned(), source };
    let file = File::open(path).map_err(io_error)?;
    let mut text = String::new();
    let length = file.take(LONGEST_JSON + 1).read_to_string(&mut text).map_err(io_error)?;
    if length as u64 > LONGEST_JSON {
        let problem = format!("is longer than {LONGEST_JSON} bytes: not a configuration");
        return Err(Error::Checkpoint { path: path.to_owned(), problem });
    }
    Ok(text)
}
