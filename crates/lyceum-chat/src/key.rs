//! The key of an endpoint: it is sent to it and shown to nobody.

use std::fmt;

/// A secret from the environment.
#[derive(Clone)]
pub(crate) struct Key(String);

impl Key {
    /// The key in an environment variable, if it is set and not empty.
    pub(crate) fn from_env(variable: &str) -> Option<Self> {
        std::env::var(variable).ok().filter(|key| !key.trim().is_empty()).map(|key| Self(key.trim().into()))
    }

    /// What the header `Authorization` holds.
    pub(crate) fn bearer(&self) -> String {
        format!("Bearer {}", self.0)
    }

    /// A text without the key: servers like to repeat a key that they refuse.
    pub(crate) fn hide(&self, text: &str) -> String {
        text.replace(&self.0, "[key]")
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[key]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_not_shown() {
        let key = Key("sk-123".into());
        assert_eq!(format!("{key:?}"), "[key]");
        assert_eq!(key.hide("wrong key sk-123!"), "wrong key [key]!");
    }
}
