/// The known name nearest to what was written, if one is near enough to be what was meant.
///
/// Case, `-` and `_` do not count; else Jaro-Winkler similarity, which forgives slips but not other words.
#[must_use]
pub fn nearest<'a>(written: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    const NEAR: f64 = 0.8;
    let plain = |name: &str| name.to_lowercase().replace('-', "_");
    let written = plain(written);
    known
        .into_iter()
        .map(|name| (strsim::jaro_winkler(&written, &plain(name)), name))
        .filter(|(similarity, _)| *similarity >= NEAR)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn slips_are_forgiven_other_words_are_not() {
        let known = ["temperature", "top_k", "top_p", "min_p", "learning_rate", "group_size"];
        for (written, meant) in [
            ("temprature", Some("temperature")),
            ("Top-K", Some("top_k")),
            ("learningrate", Some("learning_rate")),
            ("groupsize", Some("group_size")),
            ("group_sizes", Some("group_size")),
            ("optimizer", None),
            ("", None),
        ] {
            assert_eq!(nearest(written, known), meant, "{written}");
        }
    }
}
