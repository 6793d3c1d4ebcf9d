//! Tasks' own options.

use serde_json::{Map, Value};

use crate::error::{Error, Result};

/// Options from a recipe's table. serde names the unknown key and the known ones.
pub(super) fn read<T: serde::de::DeserializeOwned>(task: &str, options: Map<String, Value>) -> Result<T> {
    serde_json::from_value(Value::Object(options))
        .map_err(|error| Error::option(task, "options", format!("can't be read: {error}")))
}
