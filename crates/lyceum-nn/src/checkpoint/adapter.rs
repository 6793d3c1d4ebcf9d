//! LoRA adapters in PEFT's layout: `adapter_config.json` and `adapter_model.safetensors`.

use super::encoding::Dtype;
use super::folder::{make_folder, read_text, write_json};
use super::safetensors::{Notes, open_safetensors, write_safetensors};
use crate::lora::LoraConfig;
use crate::policy::NamedTensor;
use crate::{Error, Result};
use serde::Deserialize;
use serde_json::json;
use std::collections::BTreeSet;
use std::path::Path;

const CONFIG: &str = "adapter_config.json";
const WEIGHTS: &str = "adapter_model.safetensors";
/// What PEFT puts before the name of a tensor of a causal language model.
const PREFIX: &str = "base_model.model.";

/// An adapter read from disk.
#[derive(Debug, Clone, PartialEq)]
pub struct Adapter {
    /// Rank, scale and adapted layers.
    pub lora: LoraConfig,
    /// The model it was trained on, as its writer called it.
    pub base_model: Option<String>,
    /// The weights: `model.layers.0.self_attn.q_proj.lora_A.weight` and so on, without PEFT's prefix.
    pub tensors: Vec<AdapterTensor>,
}

/// One tensor of an [`Adapter`], row-major.
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "the fields of a named tensor, owned")]
pub struct AdapterTensor {
    pub name: String,
    pub shape: Vec<usize>,
    pub data: Vec<f32>,
}

impl Adapter {
    /// The tensors as a policy takes them.
    pub fn named(&self) -> Vec<NamedTensor<'_>> {
        let tensors = self.tensors.iter();
        tensors.map(|t| NamedTensor { name: &t.name, shape: &t.shape, data: &t.data }).collect()
    }
}

/// `adapter_config.json`: what is used, and what must be absent for the mathematics to be plain LoRA.
#[derive(Deserialize)]
struct RawConfig {
    peft_type: String,
    r: usize,
    lora_alpha: f32,
    #[serde(default)]
    base_model_name_or_path: Option<String>,
    #[serde(default)]
    use_rslora: bool,
    #[serde(default)]
    use_dora: bool,
    #[serde(default)]
    fan_in_fan_out: bool,
    #[serde(default)]
    bias: Option<String>,
    #[serde(default)]
    rank_pattern: serde_json::Map<String, serde_json::Value>,
    #[serde(default)]
    alpha_pattern: serde_json::Map<String, serde_json::Value>,
    #[serde(default)]
    modules_to_save: Option<Vec<String>>,
}

impl RawConfig {
    /// The first option that asks for more than plain LoRA.
    fn unsupported(&self) -> Option<&'static str> {
        let options = [
            (self.peft_type != "LORA", "a peft_type other than LORA"),
            (self.use_dora, "use_dora"),
            (self.fan_in_fan_out, "fan_in_fan_out"),
            (self.bias.as_deref().is_some_and(|bias| bias != "none"), "trained biases"),
            (!self.rank_pattern.is_empty(), "rank_pattern"),
            (!self.alpha_pattern.is_empty(), "alpha_pattern"),
            (self.modules_to_save.as_ref().is_some_and(|modules| !modules.is_empty()), "modules_to_save"),
        ];
        options.into_iter().find_map(|(set, name)| set.then_some(name))
    }
}

/// Reads the adapter in `folder`.
///
/// # Errors
/// [`Error::Io`]; [`Error::Checkpoint`] for damaged files and for adapters that are more than plain LoRA.
pub fn read_adapter(folder: &Path) -> Result<Adapter> {
    let config_path = folder.join(CONFIG);
    let refuse = |problem: String| Error::Checkpoint { path: config_path.clone(), problem };
    let raw: RawConfig = serde_json::from_str(&read_text(&config_path)?)
        .map_err(|e| refuse(format!("is not an adapter's configuration: {e}")))?;
    if let Some(option) = raw.unsupported() {
        return Err(refuse(format!(
            "uses {option}, which is not implemented; merge the adapter with PEFT first"
        )));
    }

    let (mut store, _) = open_safetensors(&folder.join(WEIGHTS))?;
    let names: Vec<String> = store.names().map(str::to_owned).collect();
    let mut targets = BTreeSet::new();
    let mut tensors = Vec::new();
    for stored in names {
        let name = stored.strip_prefix(PREFIX).unwrap_or(&stored).to_owned();
        if let Some((module, _)) = name.split_once(".lora_") {
            targets.extend(module.rsplit('.').next().map(str::to_owned));
        }
        let shape = store.shape(&stored).unwrap_or_default().to_vec();
        tensors.push(AdapterTensor { name, shape, data: store.read(&stored)? });
    }
    // Rank-stabilised LoRA divides alpha by the root of the rank instead of the rank.
    let alpha = if raw.use_rslora { raw.lora_alpha * (raw.r as f32).sqrt() } else { raw.lora_alpha };
    let lora = LoraConfig { rank: raw.r, alpha, targets: targets.into_iter().collect() };
    lora.validate().map_err(|e| refuse(e.to_string()))?;
    Ok(Adapter { lora, base_model: raw.base_model_name_or_path, tensors })
}

/// Writes an adapter that PEFT loads. `tensors` have names without PEFT's prefix.
///
/// # Errors
/// As [`write_safetensors`].
pub fn write_adapter(
    folder: &Path,
    lora: &LoraConfig,
    base_model: Option<&str>,
    tensors: &[NamedTensor<'_>],
    dtype: Dtype,
) -> Result<()> {
    make_folder(folder)?;
    let names: Vec<String> = tensors.iter().map(|tensor| format!("{PREFIX}{}", tensor.name)).collect();
    let prefixed: Vec<NamedTensor<'_>> =
        names.iter().zip(tensors).map(|(name, tensor)| NamedTensor { name, ..*tensor }).collect();
    write_safetensors(&folder.join(WEIGHTS), &prefixed, dtype, &Notes::new())?;
    let config = json!({
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base_model,
        "r": lora.rank,
        "lora_alpha": lora.alpha,
        "lora_dropout": 0.0,
        "target_modules": lora.targets,
        "bias": "none",
        "fan_in_fan_out": false,
        "inference_mode": true,
    });
    write_json(&folder.join(CONFIG), &config)
}
