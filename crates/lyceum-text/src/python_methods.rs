//! Methods of Python's `str` that `minijinja_contrib::pycompat` lacks, or that give other results there.

use minijinja::value::{Kwargs, from_args};
use minijinja::{Error, ErrorKind, State, Value};
use minijinja_contrib::pycompat;

/// The environment's handler of `value.method(args)`.
pub(crate) fn call(state: &State, value: &Value, method: &str, args: &[Value]) -> Result<Value, Error> {
    match value.as_str() {
        Some(text) => string(text, method, args)
            .unwrap_or_else(|| pycompat::unknown_method_callback(state, value, method, args)),
        None => pycompat::unknown_method_callback(state, value, method, args),
    }
}

/// `None` if the method is left to the library.
fn string(text: &str, method: &str, args: &[Value]) -> Option<Result<Value, Error>> {
    Some(match method {
        "split" => split_arguments(args).map(|(separator, most)| split(text, separator.as_deref(), most)),
        "rsplit" => split_arguments(args).map(|(separator, most)| rsplit(text, separator.as_deref(), most)),
        "partition" => one(args).map(|by| match text.split_once(by) {
            Some((left, right)) => list([left, by, right]),
            None => list([text, "", ""]),
        }),
        "rpartition" => one(args).map(|by| match text.rsplit_once(by) {
            Some((left, right)) => list([left, by, right]),
            None => list(["", "", text]),
        }),
        "removeprefix" => one(args).map(|prefix| text.strip_prefix(prefix).unwrap_or(text).into()),
        "removesuffix" => one(args).map(|suffix| text.strip_suffix(suffix).unwrap_or(text).into()),
        "find" => one(args).map(|what| position(text, text.find(what))),
        "rfind" => one(args).map(|what| position(text, text.rfind(what))),
        "isspace" => none(args).map(|()| all(text, char::is_whitespace)),
        "isdigit" => none(args).map(|()| all(text, char::is_numeric)),
        "isnumeric" => none(args).map(|()| all(text, char::is_numeric)),
        "isalpha" => none(args).map(|()| all(text, char::is_alphabetic)),
        "isalnum" => none(args).map(|()| all(text, char::is_alphanumeric)),
        "isupper" => none(args).map(|()| cased(text, char::is_uppercase, char::is_lowercase)),
        "islower" => none(args).map(|()| cased(text, char::is_lowercase, char::is_uppercase)),
        _ => return None,
    })
}

fn none(args: &[Value]) -> Result<(), Error> {
    from_args::<()>(args)
}

fn one(args: &[Value]) -> Result<&str, Error> {
    let (text,): (&str,) = from_args(args)?;
    Ok(text)
}

/// `split(sep=None, maxsplit=-1)`; an empty separator is an error in Python too.
fn split_arguments(args: &[Value]) -> Result<(Option<String>, Option<usize>), Error> {
    let (separator, most, named): (Option<String>, Option<i64>, Kwargs) = from_args(args)?;
    let separator = separator.or(named.get("sep")?);
    let most = most.or(named.get("maxsplit")?);
    named.assert_all_used()?;
    if separator.as_deref() == Some("") {
        return Err(Error::new(ErrorKind::InvalidOperation, "split by an empty separator"));
    }
    Ok((separator, most.and_then(|most| usize::try_from(most).ok())))
}

fn list<'a>(items: impl IntoIterator<Item = &'a str>) -> Value {
    items.into_iter().map(Value::from).collect()
}

fn split(text: &str, separator: Option<&str>, most: Option<usize>) -> Value {
    match (separator, most) {
        (Some(by), Some(most)) => list(text.splitn(most.saturating_add(1), by)),
        (Some(by), None) => list(text.split(by)),
        (None, None) => list(text.split_whitespace()),
        (None, Some(most)) => {
            let mut words = Vec::new();
            let mut rest = text.trim_start();
            while !rest.is_empty() {
                let end = rest.find(char::is_whitespace).filter(|_| words.len() < most).unwrap_or(rest.len());
                words.push(Value::from(&rest[..end]));
                rest = rest[end..].trim_start();
            }
            words.into()
        }
    }
}

fn rsplit(text: &str, separator: Option<&str>, most: Option<usize>) -> Value {
    let (Some(by), Some(most)) = (separator, most) else { return split(text, separator, most) };
    let mut parts: Vec<Value> = text.rsplitn(most.saturating_add(1), by).map(Value::from).collect();
    parts.reverse();
    parts.into()
}

/// Python counts characters, not bytes; -1 is nowhere.
fn position(text: &str, byte: Option<usize>) -> Value {
    byte.and_then(|byte| text.get(..byte)).map_or(Value::from(-1), |before| before.chars().count().into())
}

/// Python's `is...` are false for the empty string.
fn all(text: &str, test: fn(char) -> bool) -> Value {
    (!text.is_empty() && text.chars().all(test)).into()
}

/// Some character has this case and none the other.
fn cased(text: &str, this: fn(char) -> bool, other: fn(char) -> bool) -> Value {
    (text.chars().any(this) && !text.chars().any(other)).into()
}
