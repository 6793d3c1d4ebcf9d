//! Filters that Jinja2 defines otherwise than minijinja.

use minijinja::value::Kwargs;
use minijinja::{Error, ErrorKind, Value};

/// A wider indent than this is refused.
const WIDEST: usize = 128;

/// `indent(text, width=4, first=False, blank=False)`: a newline at the end stays.
#[expect(clippy::needless_pass_by_value, reason = "the signature of a minijinja filter")]
pub(crate) fn indent(
    text: &str,
    width: Option<Value>,
    first: Option<bool>,
    blank: Option<bool>,
    named: Kwargs,
) -> Result<String, Error> {
    let indent = match width.or(named.get("width")?) {
        Some(width) => spaces(&width)?,
        None => " ".repeat(4),
    };
    let first = first.or(named.get("first")?).unwrap_or(false);
    let blank = blank.or(named.get("blank")?).unwrap_or(false);
    named.assert_all_used()?;
    let indented = text.split('\n').enumerate().map(|(index, line)| {
        let shifted = if index == 0 { first } else { blank || !line.is_empty() };
        if shifted { format!("{indent}{line}") } else { line.to_owned() }
    });
    Ok(indented.collect::<Vec<_>>().join("\n"))
}

/// The indent of this width: a number of spaces, or the text itself.
pub(crate) fn spaces(width: &Value) -> Result<String, Error> {
    match width.as_str() {
        Some(text) if text.len() <= WIDEST => Ok(text.to_owned()),
        None if width.as_usize().is_some_and(|width| width <= WIDEST) => {
            Ok(" ".repeat(width.as_usize().unwrap_or_default()))
        }
        _ => {
            Err(Error::new(ErrorKind::InvalidOperation, format!("an indent of at most {WIDEST} is possible")))
        }
    }
}
