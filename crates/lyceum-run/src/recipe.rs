//! Recipes: TOML files that build on each other, with errors that name file, line and key.

mod nearest;
mod node;
mod read;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Serialize, de::DeserializeOwned};

use crate::{Error, Result};
pub use nearest::nearest;
pub use node::Origin;
use node::{Node, Value};
use read::{Fault, Problem};

/// A recipe read into the type `T` of its user.
///
/// A file may say `extends = "base.toml"` (relative to itself): its keys are laid over the base's, tables key by
/// key. `--set a.b=c` arguments are laid over that; `c` is TOML, or plain text where it is not. Under `[pinned]` a
/// resolved recipe holds the SHA-256 of its inputs, and circumstances of the run. All other keys are `T`'s, which should
/// `deny_unknown_fields`.
#[derive(Clone, Debug)]
pub struct Recipe<T> {
    /// What the recipe says.
    pub value: T,
    pins: BTreeMap<String, String>,
    tree: Node,
}

impl<T: DeserializeOwned> Recipe<T> {
    /// Reads a recipe file with what it extends, and lays `--set` arguments over it.
    ///
    /// # Errors
    /// [`Error::Io`] for a file that can't be read; [`Error::Recipe`] for bad TOML, a circle of `extends`, an
    /// unknown or missing key, a value of the wrong type.
    pub fn load(path: &Path, sets: &[String]) -> Result<Self> {
        let text = read_text(path).map_err(Error::io("read the recipe", path))?;
        Self::parse(&text, path, sets)
    }

    /// Like [`load`](Self::load) for a text at hand, such as a recipe built into the program; `path` is what errors
    /// call it, and what `extends` is relative to.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn parse(text: &str, path: &Path, sets: &[String]) -> Result<Self> {
        let mut tree = with_bases(text, path, &mut Vec::new())?;
        for set in sets {
            tree.merge(parse_set(set)?);
        }
        let pins = match tree.take("pinned") {
            Some(node) => read::read(&node).map_err(|fault| explain(fault, &node))?,
            None => BTreeMap::new(),
        };
        let value = read::read(&tree).map_err(|fault| explain(fault, &tree))?;
        Ok(Self { value, pins, tree })
    }
}

impl<T: Serialize> Recipe<T> {
    /// The resolved recipe as TOML: every key, defaults included, and the pins. Reading it gives the same recipe.
    ///
    /// # Errors
    /// [`Error::Unserializable`] if `T` has no TOML form.
    pub fn to_toml(&self) -> Result<String> {
        #[derive(Serialize)]
        struct Pinned<'a> {
            pinned: &'a BTreeMap<String, String>,
        }
        let mut text = toml::to_string_pretty(&self.value)?;
        if !self.pins.is_empty() {
            text += "\n# What this run began with. A resumed run refuses inputs of another SHA-256.\n";
            text += &toml::to_string_pretty(&Pinned { pinned: &self.pins })?;
        }
        Ok(text)
    }
}

impl<T> Recipe<T> {
    /// Pins an input to its SHA-256, or checks it where the recipe has a pin of that name already.
    ///
    /// # Errors
    /// [`Error::Recipe`] if the pin is another.
    pub fn pin(&mut self, name: &str, sha256: &str) -> Result<()> {
        let pinned = self.pins.entry(name.to_owned()).or_insert_with(|| sha256.to_owned());
        if pinned == sha256 {
            return Ok(());
        }
        let message = format!(
            "`{name}` is not what this run began with: SHA-256 {sha256}, pinned {pinned}; bring back the old one or \
             begin a new run"
        );
        Err(self.error("pinned", message))
    }

    /// Records a circumstance of the run beside the pins, in place of what was said before. Unlike a pin it refuses
    /// nothing: what to make of another value is for the reader.
    pub fn record(&mut self, name: &str, value: &str) {
        self.pins.insert(name.to_owned(), value.to_owned());
    }

    /// Pins and records, by name.
    pub const fn pins(&self) -> &BTreeMap<String, String> {
        &self.pins
    }

    /// Where a dotted key was given, or else the innermost table on the way to it.
    pub fn origin(&self, key: &str) -> &Origin {
        &self.tree.nearest(key).origin
    }

    /// An error about a dotted key, for checks that types can't make: it names file and line.
    pub fn error(&self, key: &str, message: impl std::fmt::Display) -> Error {
        Error::Recipe { origin: self.origin(key).to_string(), message: format!("`{key}`: {message}") }
    }
}

/// Longest recipe read, in bytes: more is not a recipe but a mistake.
const LONGEST: u64 = 1 << 20;

fn read_text(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(LONGEST + 1).read_to_string(&mut text)?;
    if text.len() as u64 > LONGEST {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "longer than 1 MiB, so no recipe"));
    }
    Ok(text)
}

/// Parses a file and lays it over what it extends; `chain` holds the files on the way here.
fn with_bases(text: &str, path: &Path, chain: &mut Vec<PathBuf>) -> Result<Node> {
    let shared = Arc::new(path.to_path_buf());
    let origin = |line| Origin::File { path: Arc::clone(&shared), line };
    let mut tree = Node::parse(text, &origin)
        .map_err(|error| fault_at(&origin(error.line), format!("not TOML: {}", error.message)))?;
    let Some(extends) = tree.take("extends") else { return Ok(tree) };
    let Some(name) = extends.as_str() else {
        return Err(fault_at(&extends.origin, "`extends` takes the name of a file in quotes".into()));
    };
    chain.push(identity(path));
    let base_path = node::beside(path, name);
    if chain.contains(&identity(&base_path)) {
        let circle = format!("`extends = \"{name}\"` closes a circle: that file extends this one");
        return Err(fault_at(&extends.origin, circle));
    }
    let base_text = read_text(&base_path).map_err(|error| {
        fault_at(&extends.origin, format!("`extends`: cannot read {}: {error}", base_path.display()))
    })?;
    let mut base = with_bases(&base_text, &base_path, chain)?;
    base.merge(tree);
    Ok(base)
}

/// One name for a file, however it is written.
fn identity(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_path_buf())
}

/// Reads `a.b=c` as TOML, or with `c` as a plain text.
fn parse_set(argument: &str) -> Result<Node> {
    let shared: Arc<str> = argument.into();
    let origin = |_| Origin::Set { argument: Arc::clone(&shared) };
    let bad = |message: &str| fault_at(&origin(1), message.to_owned());
    let (key, value) =
        argument.split_once('=').ok_or_else(|| bad("give KEY=VALUE, for example optimizer.lr=1e-3"))?;
    if argument.contains('\n') {
        return Err(bad("a line break does not belong here"));
    }
    let quoted = || format!("{key} = {}", toml::Value::String(value.trim().to_owned()));
    Node::parse(argument, &origin)
        .or_else(|_| Node::parse(&quoted(), &origin))
        .map_err(|error| bad(&format!("`{key}` is not a key: {}", error.message)))
        .map(|mut node| {
            mark(&mut node, &origin(1));
            node
        })
}

/// Makes every node of a `--set` tree come from the command line, tables on the way included.
fn mark(node: &mut Node, origin: &Origin) {
    node.origin = origin.clone();
    if let Value::Table(table) = &mut node.value {
        table.values_mut().for_each(|child| mark(child, origin));
    }
}

fn fault_at(origin: &Origin, message: String) -> Error {
    Error::Recipe { origin: origin.to_string(), message }
}

/// Puts a reading error into words, with the nearest known name.
fn explain(fault: Fault, tree: &Node) -> Error {
    let (origin, key) = fault.place.unwrap_or_else(|| (tree.origin.clone(), String::new()));
    let message = match fault.problem {
        Problem::UnknownKey { key: written, known } => {
            format!("unknown key `{key}`{}", suggestion("keys here", &written, known))
        }
        Problem::UnknownValue { value, known } => {
            format!("`{key}` can't be \"{value}\"{}", suggestion("choices", &value, known))
        }
        Problem::MissingKey(name) if key.is_empty() => format!("the key `{name}` is missing"),
        Problem::MissingKey(name) => format!("the key `{name}` is missing in `{key}`"),
        Problem::Other(message) if key.is_empty() => message,
        Problem::Other(message) => format!("`{key}`: {message}"),
    };
    Error::Recipe { origin: origin.to_string(), message }
}

fn suggestion(what: &str, written: &str, known: &[&str]) -> String {
    let mut text = String::new();
    if let Some(name) = nearest(written, known.iter().copied()) {
        let _ = write!(text, "; did you mean `{name}`?");
    }
    if !known.is_empty() {
        let _ = write!(text, " ({what}: {})", known.join(", "));
    }
    text
}
