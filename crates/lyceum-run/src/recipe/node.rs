use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use toml::de::{DeTable, DeValue};

/// Where a key of a recipe was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// In a file.
    File {
        /// The file, as it was named.
        path: Arc<PathBuf>,
        /// Line from 1.
        line: usize,
    },
    /// On the command line.
    Set {
        /// The argument after `--set`.
        argument: Arc<str>,
    },
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Set { argument } => write!(f, "--set {argument}"),
        }
    }
}

/// A value of a recipe that knows where it was given.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub origin: Origin,
    pub value: Value,
}

/// What TOML can hold; dates are strings, as no recipe has a use for them.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Table(BTreeMap<String, Node>),
    Array(Vec<Node>),
    String(String),
    Integer(i64),
    Float(f64),
    Boolean(bool),
}

/// A syntax error with its line.
pub(super) struct Syntax {
    pub line: usize,
    pub message: String,
}

impl Node {
    /// Parses a TOML document; `origin` says where a line of it stands.
    pub fn parse(text: &str, origin: &impl Fn(usize) -> Origin) -> Result<Self, Syntax> {
        let line = |offset: usize| 1 + text.bytes().take(offset).filter(|&byte| byte == b'\n').count();
        let at = |offset: usize| origin(line(offset));
        let table = DeTable::parse(text).map_err(|error| Syntax {
            line: line(error.span().map_or(0, |span| span.start)),
            message: error.message().to_owned(),
        })?;
        let value = table_of(table.get_ref(), &at)
            .map_err(|(offset, message)| Syntax { line: line(offset), message })?;
        Ok(Self { origin: origin(1), value })
    }

    /// Lays `over` on this: tables key by key, anything else replaced.
    pub fn merge(&mut self, over: Self) {
        match (&mut self.value, over.value) {
            (Value::Table(base), Value::Table(over)) => {
                for (key, node) in over {
                    match base.get_mut(&key) {
                        Some(existing) => existing.merge(node),
                        None => drop(base.insert(key, node)),
                    }
                }
            }
            (value, over) => *value = over,
        }
        self.origin = over.origin;
    }

    /// Takes a key out of the top table.
    pub fn take(&mut self, key: &str) -> Option<Self> {
        match &mut self.value {
            Value::Table(table) => table.remove(key),
            _ => None,
        }
    }

    /// The node at a dotted key such as `arm[2].recipe`, or the innermost one on the way to it.
    pub fn nearest(&self, key: &str) -> &Self {
        let mut parts = key.split(['.', '[']).map(|part| part.trim_end_matches(']'));
        parts.try_fold(self, |node, part| node.child(part).ok_or(node)).unwrap_or_else(|node| node)
    }

    /// The child of a table by its key, of an array by its place from 0.
    pub fn child(&self, key: &str) -> Option<&Self> {
        match &self.value {
            Value::Table(table) => table.get(key),
            Value::Array(items) => items.get(key.parse::<usize>().ok()?),
            _ => None,
        }
    }

    /// The text, if it is one.
    pub fn as_str(&self) -> Option<&str> {
        match &self.value {
            Value::String(text) => Some(text),
            _ => None,
        }
    }
}

/// A number too large for TOML's integers and floats, with its offset.
type Unfit = (usize, String);

fn table_of(table: &DeTable<'_>, at: &impl Fn(usize) -> Origin) -> Result<Value, Unfit> {
    let entries = table.iter().map(|(key, value)| {
        let origin = at(key.span().start);
        Ok((
            key.get_ref().to_string(),
            Node { origin, value: value_of(value.get_ref(), value.span().start, at)? },
        ))
    });
    Ok(Value::Table(entries.collect::<Result<_, _>>()?))
}

fn value_of(value: &DeValue<'_>, offset: usize, at: &impl Fn(usize) -> Origin) -> Result<Value, Unfit> {
    Ok(match value {
        DeValue::String(text) => Value::String(text.to_string()),
        DeValue::Integer(number) => Value::Integer(
            i64::from_str_radix(number.as_str(), number.radix())
                .map_err(|_| (offset, format!("{number} does not fit in 64 bits")))?,
        ),
        DeValue::Float(number) => {
            Value::Float(number.as_str().parse().map_err(|_| (offset, format!("{number} is not a number")))?)
        }
        DeValue::Boolean(value) => Value::Boolean(*value),
        DeValue::Datetime(date) => Value::String(date.to_string()),
        DeValue::Array(items) => {
            let items = items.iter().map(|item| {
                let start = item.span().start;
                Ok(Node { origin: at(start), value: value_of(item.get_ref(), start, at)? })
            });
            Value::Array(items.collect::<Result<_, _>>()?)
        }
        DeValue::Table(table) => table_of(table, at)?,
    })
}

/// The path of an `extends`, relative to the folder of the file that says so.
pub(super) fn beside(file: &Path, name: &str) -> PathBuf {
    file.parent().map_or_else(|| PathBuf::from(name), |folder| folder.join(name))
}
