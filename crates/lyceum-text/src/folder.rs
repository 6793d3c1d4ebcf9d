//! Tokenizers in a folder with the Hugging Face layout.

use std::fs;
use std::path::Path;

use serde_json::{Map, Value, json};

use crate::{Error, Result, SpecialIds, Tokenizer};

impl Tokenizer {
    /// Reads `tokenizer.json` and, where they are, `tokenizer_config.json`, `special_tokens_map.json`,
    /// `generation_config.json` and `chat_template.jinja`.
    ///
    /// # Errors
    /// [`Error::File`] or [`Error::Format`], naming the file.
    pub fn from_folder(folder: &Path) -> Result<Self> {
        let path = folder.join("tokenizer.json");
        let json = fs::read(&path).map_err(|source| Error::File { path: path.clone(), source })?;
        let config = object(folder, "tokenizer_config.json")?;
        let map = object(folder, "special_tokens_map.json")?;
        let generation = object(folder, "generation_config.json")?;

        let template = folder.join("chat_template.jinja");
        let chat_template = match read_optional(&template)? {
            Some(text) => Some(text),
            None => config.get("chat_template").and_then(inline_template),
        };
        let bare = Self::from_json(&json, SpecialIds::default(), chat_template)
            .map_err(|error| Error::Format { path: path.clone(), problem: error.to_string() })?;
        let named = |key: &str| {
            let token = [&config, &map].into_iter().find_map(|file| file.get(key).and_then(token_text));
            token.and_then(|token| bare.id(token))
        };
        let mut eos: Vec<u32> = named("eos_token").into_iter().collect();
        for id in generation.get("eos_token_id").map(ids).unwrap_or_default() {
            if !eos.contains(&id) && (id as usize) < bare.vocab_size() {
                eos.push(id);
            }
        }
        let special =
            SpecialIds { bos: named("bos_token"), eos, pad: named("pad_token"), unk: named("unk_token") };
        Ok(bare.with_special(special))
    }

    /// Writes `tokenizer.json`, `tokenizer_config.json`, `special_tokens_map.json`, `generation_config.json` and
    /// `chat_template.jinja` so that both [`Tokenizer::from_folder`] and `transformers` read them back alike.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn save(&self, folder: &Path) -> Result<()> {
        fs::create_dir_all(folder).map_err(|source| Error::File { path: folder.to_owned(), source })?;
        let names: Map<String, Value> = self
            .special_token_names()
            .into_iter()
            .map(|(name, token)| (name.to_owned(), token.into()))
            .collect();
        // Under the name of a model's own class, transformers would rebuild the pipeline instead of reading it.
        let mut config = names.clone();
        config.insert("tokenizer_class".into(), "PreTrainedTokenizerFast".into());
        config.insert("clean_up_tokenization_spaces".into(), false.into());
        let mut generation = Map::new();
        for (key, id) in [("bos_token_id", self.special().bos), ("pad_token_id", self.special().pad)] {
            if let Some(id) = id {
                generation.insert(key.into(), id.into());
            }
        }
        match self.special().eos.as_slice() {
            [] => {}
            [id] => _ = generation.insert("eos_token_id".into(), (*id).into()),
            ids => _ = generation.insert("eos_token_id".into(), json!(ids)),
        }
        write(folder, "tokenizer.json", &self.to_json(true)?)?;
        write(folder, "tokenizer_config.json", &format!("{:#}\n", Value::from(config)))?;
        write(folder, "special_tokens_map.json", &format!("{:#}\n", Value::from(names)))?;
        write(folder, "generation_config.json", &format!("{:#}\n", Value::from(generation)))?;
        if let Some(template) = self.chat_template_source() {
            write(folder, "chat_template.jinja", template)?;
        }
        Ok(())
    }
}

fn read_optional(path: &Path) -> Result<Option<String>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Error::File { path: path.to_owned(), source }),
    }
}

/// The object in a JSON file, empty if there is no such file.
fn object(folder: &Path, name: &str) -> Result<Map<String, Value>> {
    let path = folder.join(name);
    let Some(text) = read_optional(&path)? else { return Ok(Map::new()) };
    serde_json::from_str(&text).map_err(|error| Error::Format { path, problem: error.to_string() })
}

fn write(folder: &Path, name: &str, text: &str) -> Result<()> {
    let path = folder.join(name);
    fs::write(&path, text).map_err(|source| Error::File { path, source })
}

/// A special token is its text or an object with its text.
fn token_text(value: &Value) -> Option<&str> {
    value.as_str().or_else(|| value.get("content")?.as_str())
}

/// `eos_token_id` is one id or a list.
fn ids(value: &Value) -> Vec<u32> {
    let one = |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok());
    value
        .as_array()
        .map_or_else(|| one(value).into_iter().collect(), |list| list.iter().filter_map(one).collect())
}

/// A template is its text or a list of named ones, of which `default` is for conversations.
fn inline_template(value: &Value) -> Option<String> {
    let named = |list: &Vec<Value>| {
        let default = list.iter().find(|entry| entry["name"] == "default")?;
        default["template"].as_str().map(str::to_owned)
    };
    value.as_str().map(str::to_owned).or_else(|| named(value.as_array()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ControlTokens;

    #[test]
    fn a_saved_tokenizer_comes_back_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let control = ControlTokens { bos: Some("<s>".into()), ..ControlTokens::default() };
        for tokenizer in [
            Tokenizer::bytes(&control).unwrap(),
            Tokenizer::units(["a", "b", " ", "|", "\n"], &control)
                .unwrap()
                .with_chat_template("{{ messages }}"),
        ] {
            tokenizer.save(folder.path()).unwrap();
            let again = Tokenizer::from_folder(folder.path()).unwrap();
            assert_eq!(again.special(), tokenizer.special());
            assert_eq!(again.chat_template_source(), tokenizer.chat_template_source());
            assert_eq!(again.fingerprint().unwrap(), tokenizer.fingerprint().unwrap());
            assert_eq!(again.encode("a b|\nc").unwrap(), tokenizer.encode("a b|\nc").unwrap());
        }
    }

    #[test]
    fn every_place_that_names_an_end_counts() {
        let folder = tempfile::tempdir().unwrap();
        Tokenizer::bytes(&ControlTokens::default()).unwrap().save(folder.path()).unwrap();
        write(folder.path(), "tokenizer_config.json", r#"{"eos_token": {"content": "<|im_end|>"}}"#).unwrap();
        write(folder.path(), "special_tokens_map.json", r#"{"pad_token": "<|pad|>", "eos_token": "A"}"#)
            .unwrap();
        write(folder.path(), "generation_config.json", r#"{"eos_token_id": [2, 1, 99999]}"#).unwrap();
        let read = Tokenizer::from_folder(folder.path()).unwrap();
        assert_eq!(*read.special(), SpecialIds { bos: None, eos: vec![1, 2], pad: Some(0), unk: None });
    }

    #[test]
    fn named_templates_and_the_template_file() {
        let folder = tempfile::tempdir().unwrap();
        Tokenizer::bytes(&ControlTokens::default()).unwrap().save(folder.path()).unwrap();
        let list = r#"{"chat_template": [{"name": "tool_use", "template": "t"}, {"name": "default", "template": "d"}]}"#;
        write(folder.path(), "tokenizer_config.json", list).unwrap();
        assert_eq!(Tokenizer::from_folder(folder.path()).unwrap().chat_template_source(), Some("d"));
        write(folder.path(), "chat_template.jinja", "file").unwrap();
        assert_eq!(Tokenizer::from_folder(folder.path()).unwrap().chat_template_source(), Some("file"));
    }

    #[test]
    fn errors_name_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let missing = Tokenizer::from_folder(folder.path()).unwrap_err().to_string();
        assert!(missing.contains("tokenizer.json"), "{missing}");
        Tokenizer::bytes(&ControlTokens::default()).unwrap().save(folder.path()).unwrap();
        write(folder.path(), "generation_config.json", "{\n\"a\": }").unwrap();
        let broken = Tokenizer::from_folder(folder.path()).unwrap_err().to_string();
        assert!(broken.contains("generation_config.json") && broken.contains("line 2"), "{broken}");
        write(folder.path(), "tokenizer.json", "{}").unwrap();
        write(folder.path(), "generation_config.json", "{}").unwrap();
        let empty = Tokenizer::from_folder(folder.path()).unwrap_err().to_string();
        assert!(empty.contains("tokenizer.json: "), "{empty}");
    }
}
