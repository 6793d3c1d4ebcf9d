//! `lyceum model pull | list | convert`.

use std::path::Path;

use anyhow::{Context, Result};
use lyceum_hub::Hub;
use lyceum_nn::checkpoint::{Dtype, write_folder};
use lyceum_nn::params::is_value_head;
use lyceum_nn::policy::NamedTensor;
use lyceum_nn::presets::PRESETS;

use crate::cli::{ModelCommand, PrecisionArg};
use crate::models;
use crate::out;
use crate::session::Session;

/// Fetches, lists and converts models.
pub fn run(session: &Session, command: &ModelCommand) -> Result<()> {
    match command {
        ModelCommand::List => list(session),
        ModelCommand::Pull { name } => pull(session, name),
        ModelCommand::Convert { from, adapter, out, precision } => {
            convert(session, from, adapter.as_deref(), out, *precision)
        }
    }
}

fn list(session: &Session) -> Result<()> {
    let models = Hub::from_env()?.list();
    if session.json {
        let rows: Vec<_> = models
            .iter()
            .map(|listed| {
                let about = listed.model.map(|model| (model.about, model.licence));
                serde_json::json!({
                    "name": listed.name, "path": listed.path,
                    "about": about.map(|a| a.0), "licence": about.map(|a| a.1),
                })
            })
            .collect();
        return session.print_json(&rows);
    }
    for listed in &models {
        let place = listed.path.as_ref().map_or("not here yet".into(), |path| path.display().to_string());
        let about = listed.model.map_or("", |model| model.about);
        out!("{:<30} {about}\n{:<30} {place}", listed.name, "");
    }
    out!("presets (random weights, to train from scratch): {}", PRESETS.join(", "));
    out!("or hf:owner/name, a folder in the Hugging Face layout, a .gguf file, a run's folder");
    Ok(())
}

fn pull(session: &Session, name: &str) -> Result<()> {
    let located = lyceum_hub::resolve(name, &session.downloads())?;
    if session.json {
        return session.print_json(&serde_json::json!({
            "name": located.name, "path": located.path, "sha256": located.sha256,
        }));
    }
    out!("{} is in {}\nSHA-256 of the weights {}", located.name, located.path.display(), located.sha256);
    Ok(())
}

fn convert(
    session: &Session,
    from: &str,
    adapter: Option<&Path>,
    out: &Path,
    precision: PrecisionArg,
) -> Result<()> {
    // f32 products keep the weights as they are read; bf16 ones would round before they are written.
    let model = models::load(session, from, adapter, PrecisionArg::F32)?;
    let decoder = model.policy.decoder();
    let mut tensors: Vec<(String, Vec<usize>, Vec<f32>)> = Vec::new();
    for entry in decoder.layout().entries().iter().filter(|entry| !is_value_head(&entry.name)) {
        let mut data = vec![0.0; entry.len()];
        model.policy.merged(entry, &mut data)?;
        tensors.push((entry.name.clone(), entry.shape.clone(), data));
    }
    let named: Vec<NamedTensor<'_>> =
        tensors.iter().map(|(name, shape, data)| NamedTensor { name, shape, data }).collect();
    let dtype = match precision {
        PrecisionArg::F32 => Dtype::F32,
        PrecisionArg::Bf16 => Dtype::Bf16,
    };
    write_folder(out, decoder.config(), &named, dtype)?;
    model
        .codec
        .tokenizer()
        .save(out)
        .with_context(|| format!("writing the tokenizer to {}", out.display()))?;
    session.say(&format!("{} written to {}", model.identity.name, out.display()));
    Ok(())
}
