//! What a recipe says of a task: its name and its own options.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::error::{Error, Result};

/// A task as a recipe names it: `name` and, beside it, the task's own options.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskSpec {
    /// The task's name.
    pub name: String,
    /// Its options; an unknown key is refused when the task is made.
    #[serde(flatten)]
    pub options: Map<String, Value>,
}

/// Options from a recipe's table. serde names the unknown key and the known ones.
pub(super) fn read<T: serde::de::DeserializeOwned>(task: &str, options: Map<String, Value>) -> Result<T> {
    serde_json::from_value(Value::Object(options))
        .map_err(|error| Error::option(task, "options", format!("can't be read: {error}")))
}
