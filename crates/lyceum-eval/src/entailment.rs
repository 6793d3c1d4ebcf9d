//! Whether one text follows from another: the primitive under all claim-level metrics, with exchangeable back ends.

use std::collections::BTreeSet;

use crate::Result;
use crate::lexical::squad_normal;

/// Decides entailment.
pub trait Entailment {
    /// What reports call it.
    fn name(&self) -> &str;

    /// For each pair of premise and hypothesis, how probable it is that the hypothesis follows. `None` is a pair that could
    /// not be judged.
    ///
    /// # Errors
    /// [`crate::Error::Entailment`] when nothing can be judged at all.
    fn judge(&self, pairs: &[(&str, &str)]) -> Result<Vec<Option<f64>>>;
}

/// A hypothesis follows when it stands in the premise, both in SQuAD's normal form.
#[derive(Clone, Copy, Debug)]
pub struct Exact;

impl Entailment for Exact {
    fn name(&self) -> &str {
        "exact"
    }

    fn judge(&self, pairs: &[(&str, &str)]) -> Result<Vec<Option<f64>>> {
        let stands = |&(premise, hypothesis): &(&str, &str)| {
            let (premise, hypothesis) = (squad_normal(premise), squad_normal(hypothesis));
            let stands =
                !hypothesis.is_empty() && format!(" {premise} ").contains(&format!(" {hypothesis} "));
            Some(f64::from(u8::from(stands)))
        };
        Ok(pairs.iter().map(stands).collect())
    }
}

/// A hypothesis follows when the premise has its words: the share of its content words, with every number, and against it
/// where only one of the two denies.
///
/// An offline stand-in, ours: it knows neither paraphrase nor contradiction beyond a negation.
#[derive(Clone, Copy, Debug)]
pub struct Lexical;

impl Entailment for Lexical {
    fn name(&self) -> &str {
        "lexical"
    }

    fn judge(&self, pairs: &[(&str, &str)]) -> Result<Vec<Option<f64>>> {
        Ok(pairs.iter().map(|(premise, hypothesis)| Some(coverage(premise, hypothesis))).collect())
    }
}

/// How far a premise has the words of a hypothesis, between 0 and 1.
///
/// ```
/// use lyceum_eval::entailment::coverage;
/// let premise = "Marie Curie won the Nobel Prize in Physics in 1903.";
/// assert!(coverage(premise, "Curie won a prize in 1903") > 0.9);
/// assert!(coverage(premise, "Curie won a prize in 1911") < 0.5);
/// assert!(coverage(premise, "Curie never won a prize in 1903") < 0.5);
/// ```
#[must_use]
pub fn coverage(premise: &str, hypothesis: &str) -> f64 {
    let words = |text: &str| -> BTreeSet<String> { content_words(text).map(|word| stem(&word)).collect() };
    let (known, wanted) = (words(premise), words(hypothesis));
    if wanted.is_empty() {
        return 0.0;
    }
    let is_number = |word: &&String| word.bytes().any(|b| b.is_ascii_digit());
    // A number weighs as much as three words: it is what a claim most often gets wrong.
    let weight = |word: &String| if is_number(&word) { 3.0 } else { 1.0 };
    let all: f64 = wanted.iter().map(weight).sum();
    let found: f64 = wanted.intersection(&known).map(weight).sum();
    let strange_number = wanted.difference(&known).any(|word| is_number(&word));
    let contrary = denies(premise) != denies(hypothesis) && denies(hypothesis);
    found / all * if strange_number || contrary { 0.5 } else { 1.0 }
}

/// Words that say something, in lower case.
pub fn content_words(text: &str) -> impl Iterator<Item = String> {
    let lower = text.to_lowercase();
    let words: Vec<String> = lower
        .split(|c: char| !c.is_alphanumeric() && c != '.' && c != ',')
        .map(|word| word.trim_matches(['.', ',']).replace(',', ""))
        .filter(|word| !word.is_empty() && !STOP.contains(&word.as_str()))
        .collect();
    words.into_iter()
}

const STOP: [&str; 58] = [
    "a", "an", "the", "and", "or", "but", "if", "of", "in", "on", "at", "to", "for", "from", "by", "with",
    "as", "is", "are", "was", "were", "be", "been", "being", "it", "its", "this", "that", "these", "those",
    "he", "she", "they", "his", "her", "their", "which", "who", "whom", "what", "when", "where", "how",
    "has", "have", "had", "do", "does", "did", "will", "would", "can", "could", "may", "there", "than",
    "then", "also",
];

/// Takes the commonest English endings off, so that "wins" meets "winning".
fn stem(word: &str) -> String {
    if !word.is_ascii() {
        return word.into();
    }
    for (ending, least) in [("ing", 6), ("ed", 5), ("es", 5), ("s", 4), ("ly", 5)] {
        if word.len() >= least && word.ends_with(ending) && !word.ends_with("ss") {
            return word[..word.len() - ending.len()].into();
        }
    }
    word.into()
}

fn denies(text: &str) -> bool {
    let lower = text.to_lowercase();
    let mut words = lower.split(|c: char| !c.is_alphanumeric() && c != '\'' && c != '’');
    words.any(|word| {
        matches!(word, "not" | "no" | "never" | "none" | "without" | "neither" | "cannot")
            || word.ends_with("n't")
            || word.ends_with("n’t")
    })
}

/// The sentences of a text, which stand in for its claims where nothing better splits it: at `.`, `!`, `?` before white space
/// and a capital letter or digit, and at line ends. Ours.
///
/// ```
/// let found = lyceum_eval::entailment::sentences("Dr. Smith came at 3.5 p.m. to Rome. He left!\nWhy?");
/// assert_eq!(found, ["Dr. Smith came at 3.5 p.m. to Rome.", "He left!", "Why?"]);
/// ```
#[must_use]
pub fn sentences(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    for line in text.lines() {
        let mut start = 0;
        for (at, mark) in
            line.char_indices().filter(|(_, c)| matches!(c, '.' | '!' | '?' | '。' | '！' | '？'))
        {
            let end = at + mark.len_utf8();
            let rest = line[end..].trim_start_matches(['"', '\'', ')', ']', '”']);
            let wide = mark.len_utf8() > 1;
            let gap = rest.starts_with(char::is_whitespace);
            let begins = rest.trim_start().chars().next().is_none_or(|c| !c.is_lowercase());
            let last = line[start..at].rsplit(|c: char| c.is_whitespace()).next().unwrap_or("");
            if (wide || rest.is_empty() || gap && begins)
                && !(mark == '.' && !rest.is_empty() && is_abbreviation(last))
            {
                let close = line.len() - rest.len();
                found.push(line[start..close].trim());
                start = close;
            }
        }
        found.push(line[start..].trim());
    }
    found.retain(|sentence| !sentence.is_empty());
    found
}

fn is_abbreviation(word: &str) -> bool {
    let word = word.trim_start_matches(|c: char| !c.is_alphanumeric());
    let letter = word.chars().count() == 1 && word.chars().all(char::is_uppercase);
    letter
        || matches!(
            word,
            "Dr" | "Mr"
                | "Mrs"
                | "Ms"
                | "St"
                | "Prof"
                | "vs"
                | "No"
                | "Jr"
                | "Sr"
                | "e.g"
                | "i.e"
                | "U.S"
                | "approx"
        )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn sentences_lose_nothing_but_space(text in "[A-Za-z .!?\\n\"')0-9é。]{0,60}") {
            let squeezed = |text: &str| text.chars().filter(|c| !c.is_whitespace()).collect::<String>();
            prop_assert_eq!(squeezed(&sentences(&text).concat()), squeezed(&text));
        }

        #[test]
        fn coverage_is_a_share(a in any::<String>(), b in any::<String>()) {
            prop_assert!((0.0..=1.0).contains(&coverage(&a, &b)));
        }
    }
}
