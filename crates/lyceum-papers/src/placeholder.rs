//! `{name}` in a study's settings: the place of something that is known only when it runs.

/// Replaces every `{name}` by what `place` says; a name is of letters, digits, `-` and `_`, so that inline tables of
/// TOML (`{ kind = "grpo" }`) are left alone.
///
/// # Errors
/// The first name that `place` does not know.
pub fn fill(text: &str, mut place: impl FnMut(&str) -> Option<String>) -> Result<String, String> {
    let mut filled = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(open) = rest.find('{') {
        let (before, from) = rest.split_at(open);
        filled += before;
        let inside = from[1..].split('}').next().unwrap_or_default();
        let closed = from.len() > 1 + inside.len();
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if closed && !inside.is_empty() && inside.chars().all(is_name) {
            filled += &place(inside).ok_or_else(|| inside.to_owned())?;
            rest = &from[inside.len() + 2..];
        } else {
            filled.push('{');
            rest = &from[1..];
        }
    }
    Ok(filled + rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(name: &str) -> Option<String> {
        (name == "policy").then(|| "runs/p".to_owned())
    }

    #[test]
    fn names_are_replaced_and_tables_left_alone() {
        assert_eq!(fill("model.name='{policy}'", known).unwrap(), "model.name='runs/p'");
        assert_eq!(fill("{policy}{policy}", known).unwrap(), "runs/pruns/p");
        for kept in ["a={ kind = \"grpo\" }", "a={}", "a={", "a={policy", "a=}{", "{x=1}"] {
            assert_eq!(fill(kept, known).unwrap(), kept);
        }
        assert_eq!(fill("a={b=['{policy}']}", known).unwrap(), "a={b=['runs/p']}");
        assert_eq!(fill("model.name='{polcy}'", known).unwrap_err(), "polcy");
    }
}
