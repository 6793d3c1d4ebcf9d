//! Comparing an answer with references word by word: SQuAD's exact match and F1, ROUGE as rouge-score has it, BLEU and chrF
//! as sacrebleu has them.

use std::collections::HashMap;
use std::hash::Hash;

/// SQuAD's normal form: lower case, no ASCII punctuation, no articles, single spaces.
///
/// ```
/// assert_eq!(lyceum_eval::lexical::squad_normal("The  Cat's, a hat."), "cats hat");
/// ```
#[must_use]
pub fn squad_normal(text: &str) -> String {
    let plain: String = text.to_lowercase().chars().filter(|c| !c.is_ascii_punctuation()).collect();
    let words = plain.split_whitespace().filter(|word| !matches!(*word, "a" | "an" | "the"));
    words.collect::<Vec<_>>().join(" ")
}

/// `squad.em`: whether the answer is one of the references in SQuAD's normal form.
#[must_use]
pub fn exact_match(answer: &str, references: &[&str]) -> f64 {
    let answer = squad_normal(answer);
    f64::from(u8::from(references.iter().any(|reference| squad_normal(reference) == answer)))
}

/// `squad.f1`: F1 of the bags of words in SQuAD's normal form, against the best reference. Two empty texts agree.
///
/// ```
/// use lyceum_eval::lexical::token_f1;
/// assert_eq!(token_f1("the red car", &["a car", "bus"]), 2.0 / 3.0);
/// assert_eq!((token_f1("", &["the"]), token_f1("", &["x"])), (1.0, 0.0));
/// ```
#[must_use]
pub fn token_f1(answer: &str, references: &[&str]) -> f64 {
    let answer = squad_normal(answer);
    let found: Vec<&str> = answer.split_whitespace().collect();
    best(references, |reference| {
        let reference = squad_normal(reference);
        let wanted: Vec<&str> = reference.split_whitespace().collect();
        if found.is_empty() || wanted.is_empty() {
            return f64::from(u8::from(found.len() == wanted.len()));
        }
        f_measure(overlap(&counts(&found, 1), &counts(&wanted, 1)), found.len(), wanted.len()).f
    })
}

/// `answer.presence`: whether a reference's normal form stands in the answer's, at the borders of words.
///
/// ```
/// use lyceum_eval::lexical::presence;
/// assert_eq!((presence("It was in 1905.", &["1905"]), presence("It was in 19052.", &["1905"])), (1.0, 0.0));
/// ```
#[must_use]
pub fn presence(answer: &str, references: &[&str]) -> f64 {
    let answer = format!(" {} ", squad_normal(answer));
    best(references, |reference| {
        let reference = squad_normal(reference);
        f64::from(u8::from(!reference.is_empty() && answer.contains(&format!(" {reference} "))))
    })
}

/// Precision, recall and their harmonic mean.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Overlap {
    /// Shared over found.
    pub precision: f64,
    /// Shared over wanted.
    pub recall: f64,
    /// Harmonic mean; 0 where both are 0.
    pub f: f64,
}

fn f_measure(shared: usize, found: usize, wanted: usize) -> Overlap {
    let share = |of: usize| if of == 0 { 0.0 } else { shared as f64 / of as f64 };
    let (precision, recall) = (share(found), share(wanted));
    let sum = precision + recall;
    Overlap { precision, recall, f: if sum > 0.0 { 2.0 * precision * recall / sum } else { 0.0 } }
}

/// The words of rouge-score without its stemmer: runs of a-z and 0-9 in lower case.
fn rouge_words(text: &str) -> Vec<String> {
    let lower = text.to_lowercase();
    let words = lower.split(|c: char| !c.is_ascii_lowercase() && !c.is_ascii_digit());
    words.filter(|word| !word.is_empty()).map(String::from).collect()
}

/// `rouge-score.rougeN` without stemming, against the reference with the best F.
///
/// ```
/// use lyceum_eval::lexical::rouge_n;
/// let found = rouge_n("the cat sat", &["The cat, it sat!"], 2);
/// assert_eq!((found.precision, found.recall), (0.5, 1.0 / 3.0));
/// ```
#[must_use]
pub fn rouge_n(answer: &str, references: &[&str], n: usize) -> Overlap {
    let found = rouge_words(answer);
    let many = |words: &[String]| (words.len() + 1).saturating_sub(n);
    best_overlap(references, |reference| {
        let wanted = rouge_words(reference);
        f_measure(overlap(&counts(&found, n), &counts(&wanted, n)), many(&found), many(&wanted))
    })
}

/// `rouge-score.rougeL`: by the longest common subsequence of words, against the reference with the best F.
///
/// ```
/// let found = lyceum_eval::lexical::rouge_l("a b c d", &["b x d"]);
/// assert_eq!((found.precision, found.recall), (0.5, 2.0 / 3.0));
/// ```
#[must_use]
pub fn rouge_l(answer: &str, references: &[&str]) -> Overlap {
    let found = rouge_words(answer);
    best_overlap(references, |reference| {
        let wanted = rouge_words(reference);
        f_measure(common_subsequence(&found, &wanted), found.len(), wanted.len())
    })
}

fn common_subsequence(a: &[String], b: &[String]) -> usize {
    let mut row = vec![0usize; b.len() + 1];
    for x in a {
        let mut before = 0;
        for (j, y) in b.iter().enumerate() {
            let above = row[j + 1];
            row[j + 1] = if x == y { before + 1 } else { above.max(row[j]) };
            before = above;
        }
    }
    row[b.len()]
}

/// `sacrebleu.sentence_bleu`: BLEU of one text in percent, 13a tokens, exponential smoothing, effective order.
#[must_use]
pub fn sentence_bleu(answer: &str, references: &[&str]) -> f64 {
    bleu_of(&[tally(answer, references)], true)
}

/// `sacrebleu.corpus_bleu` in percent: 13a tokens, exponential smoothing.
#[must_use]
pub fn corpus_bleu(pairs: &[(&str, Vec<&str>)]) -> f64 {
    let tallies: Vec<Tally> = pairs.iter().map(|(answer, references)| tally(answer, references)).collect();
    bleu_of(&tallies, false)
}

/// What BLEU counts of one text.
struct Tally {
    right: [usize; 4],
    all: [usize; 4],
    len: usize,
    reference_len: usize,
}

fn tally(answer: &str, references: &[&str]) -> Tally {
    let found = tokens_13a(answer);
    let wanted: Vec<Vec<String>> = references.iter().map(|reference| tokens_13a(reference)).collect();
    let (mut right, mut all) = ([0; 4], [0; 4]);
    for n in 1..=4 {
        let mut most = HashMap::<&[String], usize>::new();
        for reference in &wanted {
            for (gram, count) in counts(reference, n) {
                let known = most.entry(gram).or_default();
                *known = count.max(*known);
            }
        }
        right[n - 1] = overlap(&counts(&found, n), &most);
        all[n - 1] = (found.len() + 1).saturating_sub(n);
    }
    // The closest reference's length; the shorter of two equally close.
    let closest = wanted.iter().map(Vec::len).min_by_key(|&len| (len.abs_diff(found.len()), len));
    Tally { right, all, len: found.len(), reference_len: closest.unwrap_or(0) }
}

fn bleu_of(tallies: &[Tally], effective_order: bool) -> f64 {
    let sum = |of: &dyn Fn(&Tally) -> usize| tallies.iter().map(of).sum::<usize>();
    if (0..4).all(|n| sum(&|t| t.right[n]) == 0) {
        return 0.0;
    }
    let (mut smooth, mut logs, mut order) = (1.0, 0.0, 4);
    for n in 0..4 {
        let (right, all) = (sum(&|t| t.right[n]), sum(&|t| t.all[n]));
        if all == 0 {
            if effective_order {
                order = n;
                break;
            }
            return 0.0;
        }
        let precision = if right == 0 {
            smooth *= 2.0;
            1.0 / (smooth * all as f64)
        } else {
            right as f64 / all as f64
        };
        logs += precision.ln();
    }
    let (len, reference) = (sum(&|t| t.len) as f64, sum(&|t| t.reference_len) as f64);
    let brevity = if len < reference { (1.0 - reference / len).exp() } else { 1.0 };
    100.0 * brevity * (logs / order as f64).exp()
}

/// The tokens of mteval-v13a, as sacrebleu cuts them.
///
/// ```
/// let tokens = lyceum_eval::lexical::tokens_13a("It cost $3.50, a 2-day (sort-of) trip.");
/// assert_eq!(tokens.join("|"), "It|cost|$|3.50|,|a|2|-|day|(|sort-of|)|trip|.");
/// ```
#[must_use]
pub fn tokens_13a(text: &str) -> Vec<String> {
    let mut text = text.replace("<skipped>", "").replace("-\n", "").replace('\n', " ");
    if text.contains('&') {
        for (entity, plain) in [("&quot;", "\""), ("&amp;", "&"), ("&lt;", "<"), ("&gt;", ">")] {
            text = text.replace(entity, plain);
        }
    }
    let alone = |c: char| matches!(c, '{'..='~' | '['..='`' | ' '..='&' | '('..='+' | ':'..='@' | '/');
    let mut spaced = vec![' '];
    for c in text.chars() {
        if alone(c) { spaced.extend([' ', c, ' ']) } else { spaced.push(c) }
    }
    spaced.push(' ');
    let digit = |c: char| c.is_ascii_digit();
    let mark = |c: char| c == '.' || c == ',';
    let text = pairwise(&spaced, |a, b| !digit(a) && mark(b), |a, b| vec![a, ' ', b, ' ']);
    let text = pairwise(&text, |a, b| mark(a) && !digit(b), |a, b| vec![' ', a, ' ', b]);
    let text = pairwise(&text, |a, b| digit(a) && b == '-', |a, b| vec![a, ' ', b, ' ']);
    text.into_iter().collect::<String>().split_whitespace().map(String::from).collect()
}

/// Replaces pairs of characters from left to right, none of them twice, as a regular expression of two does.
fn pairwise(
    text: &[char],
    fits: impl Fn(char, char) -> bool,
    replaced: impl Fn(char, char) -> Vec<char>,
) -> Vec<char> {
    let mut out = Vec::with_capacity(text.len() * 2);
    let mut rest = text;
    while let [first, tail @ ..] = rest {
        match tail.first() {
            Some(&second) if fits(*first, second) => {
                out.extend(replaced(*first, second));
                rest = &tail[1..];
            }
            _ => {
                out.push(*first);
                rest = tail;
            }
        }
    }
    out
}

/// `sacrebleu.sentence_chrf` (chrF2) in percent: characters without white space, n up to 6, beta 2, the best reference.
///
/// Only orders that both texts have count (sacrebleu's default effective order).
#[must_use]
pub fn chrf(answer: &str, references: &[&str]) -> f64 {
    let letters = |text: &str| text.chars().filter(|c| !c.is_whitespace()).collect::<Vec<char>>();
    let found = letters(answer);
    best(references, |reference| {
        let wanted = letters(reference);
        let (mut precision, mut recall, mut orders) = (0.0, 0.0, 0.0);
        for n in 1..=6 {
            let (a, b) = ((found.len() + 1).saturating_sub(n), (wanted.len() + 1).saturating_sub(n));
            if a == 0 || b == 0 {
                continue;
            }
            let shared = overlap(&counts(&found, n), &counts(&wanted, n)) as f64;
            precision += shared / a as f64;
            recall += shared / b as f64;
            orders += 1.0;
        }
        if orders == 0.0 || precision + recall == 0.0 {
            return 0.0;
        }
        let (precision, recall) = (precision / orders, recall / orders);
        100.0 * 5.0 * precision * recall / (4.0 * precision + recall)
    })
}

/// How often each run of n items occurs.
fn counts<T: Eq + Hash>(items: &[T], n: usize) -> HashMap<&[T], usize> {
    let mut counts = HashMap::new();
    for gram in items.windows(n) {
        *counts.entry(gram).or_default() += 1;
    }
    counts
}

/// Size of the intersection of two bags.
fn overlap<K: Eq + Hash>(a: &HashMap<K, usize>, b: &HashMap<K, usize>) -> usize {
    a.iter().map(|(key, &count)| count.min(b.get(key).copied().unwrap_or(0))).sum()
}

fn best(references: &[&str], value: impl Fn(&str) -> f64) -> f64 {
    references.iter().map(|reference| value(reference)).fold(0.0, f64::max)
}

fn best_overlap(references: &[&str], value: impl Fn(&str) -> Overlap) -> Overlap {
    let found = references.iter().map(|reference| value(reference));
    found.reduce(|best, next| if next.f > best.f { next } else { best }).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn bleu_by_hand() {
        let text = "the quick brown fox jumps";
        assert!((sentence_bleu(text, &[text]) - 100.0).abs() < 1e-9);
        assert_eq!(sentence_bleu("x", &["y"]), 0.0);
        // 1-grams 2/2, nothing longer than 2: order 2 with 1 of 1 bigram; brevity exp(1 - 3/2).
        assert!((sentence_bleu("a b", &["a b c"]) - 100.0 * (-0.5f64).exp()).abs() < 1e-9);
    }

    proptest! {
        #[test]
        fn shares_stay_shares(a in "[a-c .,0-2\\-]{0,30}", b in "[a-c .,0-2\\-]{0,30}") {
            let references = [b.as_str()];
            for value in [token_f1(&a, &references), rouge_l(&a, &references).f, rouge_n(&a, &references, 2).f,
                sentence_bleu(&a, &references) / 100.0, chrf(&a, &references) / 100.0] {
                prop_assert!((0.0..=1.0 + 1e-9).contains(&value), "{value}");
            }
            prop_assert_eq!(token_f1(&a, &references), token_f1(&b, &[a.as_str()]));
        }

        #[test]
        fn any_text_is_borne(a in any::<String>(), b in any::<String>()) {
            let references = [b.as_str()];
            _ = (sentence_bleu(&a, &references), chrf(&a, &references), presence(&a, &references));
        }
    }
}
