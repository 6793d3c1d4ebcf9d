//! `tojson` as `transformers` defines it for chat templates: Python's `json.dumps`, without escaping HTML.

use std::fmt::Write;

use minijinja::value::{Kwargs, Rest, ValueKind};
use minijinja::{Error, ErrorKind, Value};

use crate::{python_filters, python_text};

/// Deeper values and longer texts than this are refused.
const DEPTH: usize = 128;
const BYTES: usize = 1 << 24;

/// `tojson(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False)`.
#[expect(clippy::needless_pass_by_value, reason = "the signature of a minijinja filter")]
pub(crate) fn tojson(value: &Value, positional: Rest<Value>, named: Kwargs) -> Result<String, Error> {
    let mut arguments = [Value::UNDEFINED, Value::UNDEFINED, Value::UNDEFINED, Value::UNDEFINED];
    for (index, name) in ["ensure_ascii", "indent", "separators", "sort_keys"].into_iter().enumerate() {
        let given = positional.get(index).cloned();
        arguments[index] = given.or(named.get::<Option<Value>>(name)?).unwrap_or_default();
    }
    named.assert_all_used()?;
    let [ascii, indent, separators, sorted] = arguments;

    let indent = match indent.kind() {
        ValueKind::Undefined | ValueKind::None => None,
        ValueKind::String => indent.as_str().map(str::to_owned),
        _ => Some(python_filters::spaces(&indent)?),
    };
    let (item, key) = match separators.kind() {
        ValueKind::Undefined | ValueKind::None => {
            (if indent.is_some() { "," } else { ", " }.to_owned(), ": ".to_owned())
        }
        _ => (separators.get_item_by_index(0)?.to_string(), separators.get_item_by_index(1)?.to_string()),
    };
    let mut writer = Writer {
        out: String::new(),
        ascii: ascii.is_true(),
        indent,
        item,
        key,
        sorted: sorted.is_true(),
        depth: 0,
    };
    writer.value(value)?;
    Ok(writer.out)
}

struct Writer {
    out: String,
    ascii: bool,
    indent: Option<String>,
    /// Between items, and between key and value.
    item: String,
    key: String,
    sorted: bool,
    depth: usize,
}

impl Writer {
    fn value(&mut self, value: &Value) -> Result<(), Error> {
        match value.kind() {
            ValueKind::None => self.out.push_str("null"),
            ValueKind::Bool => self.out.push_str(if value.is_true() { "true" } else { "false" }),
            ValueKind::Number => self.out.push_str(&number(value)),
            ValueKind::String => self.string(value.as_str().unwrap_or_default()),
            ValueKind::Seq | ValueKind::Iterable => {
                self.block('[', ']', value.try_iter()?, Self::value)?;
            }
            ValueKind::Map => {
                let mut keys: Vec<Value> = value.try_iter()?.collect();
                if self.sorted {
                    keys.sort();
                }
                self.block('{', '}', keys.into_iter(), |writer, key| {
                    match key.kind() {
                        ValueKind::String => writer.value(key)?,
                        ValueKind::None | ValueKind::Bool | ValueKind::Number => {
                            writer.out.push('"');
                            writer.value(key)?;
                            writer.out.push('"');
                        }
                        kind => return Err(refused(format!("a key of kind {kind} has no JSON"))),
                    }
                    writer.out.push_str(&writer.key.clone());
                    writer.value(&value.get_item(key)?)
                })?;
            }
            kind => return Err(refused(format!("a value of kind {kind} has no JSON"))),
        }
        Ok(())
    }

    fn block(
        &mut self,
        open: char,
        close: char,
        items: impl Iterator<Item = Value>,
        mut write: impl FnMut(&mut Self, &Value) -> Result<(), Error>,
    ) -> Result<(), Error> {
        if self.depth == DEPTH {
            return Err(refused(format!("a value nested deeper than {DEPTH} has no JSON")));
        }
        self.out.push(open);
        self.depth += 1;
        let mut empty = true;
        for item in items {
            if self.out.len() > BYTES {
                return Err(refused(format!("JSON longer than {BYTES} bytes")));
            }
            if !empty {
                self.out.push_str(&self.item.clone());
            }
            self.line_break();
            write(self, &item)?;
            empty = false;
        }
        self.depth -= 1;
        if !empty {
            self.line_break();
        }
        self.out.push(close);
        Ok(())
    }

    fn line_break(&mut self) {
        if let Some(indent) = &self.indent {
            self.out.push('\n');
            self.out.extend(std::iter::repeat_n(indent.as_str(), self.depth));
        }
    }

    fn string(&mut self, text: &str) {
        self.out.push('"');
        for c in text.chars() {
            match c {
                '"' => self.out.push_str("\\\""),
                '\\' => self.out.push_str("\\\\"),
                '\n' => self.out.push_str("\\n"),
                '\r' => self.out.push_str("\\r"),
                '\t' => self.out.push_str("\\t"),
                '\u{8}' => self.out.push_str("\\b"),
                '\u{C}' => self.out.push_str("\\f"),
                c if c < ' ' || self.ascii && !(' '..='~').contains(&c) => {
                    for unit in c.encode_utf16(&mut [0; 2]) {
                        _ = write!(self.out, "\\u{unit:04x}");
                    }
                }
                c => self.out.push(c),
            }
        }
        self.out.push('"');
    }
}

/// As Python's `json` writes it, which has words for what is not finite.
fn number(value: &Value) -> String {
    match python_text::number(value).as_str() {
        "nan" => "NaN".to_owned(),
        "inf" => "Infinity".to_owned(),
        "-inf" => "-Infinity".to_owned(),
        finite => finite.to_owned(),
    }
}

fn refused(problem: String) -> Error {
    Error::new(ErrorKind::BadSerialization, problem)
}
