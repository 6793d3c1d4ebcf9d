//! Finding the final answer in a completion.

use serde::{Deserialize, Serialize};

use super::number::{Commas, Scan, scan};

/// Where the final answer stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExtractRule {
    /// In the last closed `\boxed{...}`.
    Boxed,
    /// Behind the last `####`, to the end of the line.
    Hashes,
    /// Between the last `<name>` and `</name>`.
    Tag(String),
    /// Behind the last "answer is" or "answer:", to the end of the sentence.
    AnswerIs,
    /// The last number anywhere. Finds answers that were never given as such; nothing uses it unasked.
    LastNumber,
}

/// The final answer by one rule. If the text closes a `<think>` block, only what follows it is searched.
#[must_use]
pub fn extract(text: &str, rule: &ExtractRule) -> Option<String> {
    let text = text.rsplit_once("</think>").map_or(text, |(_, after)| after);
    let found = match rule {
        ExtractRule::Boxed => boxed(text),
        ExtractRule::Hashes => hashes(text),
        ExtractRule::Tag(name) => tagged(text, name),
        ExtractRule::AnswerIs => answer_is(text),
        ExtractRule::LastNumber => last_number(text),
    };
    found.map(|answer| answer.trim().to_owned()).filter(|answer| !answer.is_empty())
}

/// The final answer by the first rule that finds one.
#[must_use]
pub fn extract_first(text: &str, rules: &[ExtractRule]) -> Option<String> {
    rules.iter().find_map(|rule| extract(text, rule))
}

fn boxed(text: &str) -> Option<String> {
    let mut last = None;
    let mut rest = text;
    while let Some(at) = rest.find("\\boxed").into_iter().chain(rest.find("\\fbox")).min() {
        let command = if rest[at..].starts_with("\\boxed") { "\\boxed" } else { "\\fbox" };
        rest = &rest[at + command.len()..];
        let inner = rest.trim_start();
        if let Some(inner) = inner.strip_prefix('{') {
            if let Some(length) = closing_brace(inner) {
                last = Some(inner[..length].to_owned());
                rest = &inner[length..];
            }
        } else if rest.starts_with(' ') {
            // \boxed 5: one token.
            last = inner.split(|c: char| c.is_whitespace() || c == '$').next().map(str::to_owned);
        }
    }
    last
}

/// Where the group that began before `text` closes.
fn closing_brace(text: &str) -> Option<usize> {
    let mut depth = 1usize;
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => {}
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some(at);
        }
        escaped = c == '\\' && !escaped;
    }
    None
}

fn hashes(text: &str) -> Option<String> {
    let (_, behind) = text.rsplit_once("####")?;
    behind.trim_start_matches([' ', '\t', '#']).lines().next().map(str::to_owned)
}

fn tagged(text: &str, name: &str) -> Option<String> {
    let (open, close) = (format!("<{name}>"), format!("</{name}>"));
    let before = &text[..text.rfind(&close)?];
    let (_, inside) = before.rsplit_once(&open)?;
    Some(inside.to_owned())
}

fn answer_is(text: &str) -> Option<String> {
    // Lower-casing by ASCII keeps every byte in its place.
    let lower = text.to_ascii_lowercase();
    let phrases = ["answer is", "answer:", "answer =", "answer**:", "answer:**", "answer is:"];
    let end = phrases.iter().filter_map(|phrase| lower.rfind(phrase).map(|at| at + phrase.len())).max()?;
    let behind = text[end..].trim_start_matches([':', ' ', '*', '=', '\n', '\t']);
    if let Some(boxed) = boxed(behind) {
        return Some(boxed);
    }
    for (open, close) in [("$$", "$$"), ("$", "$"), ("\\(", "\\)"), ("\\[", "\\]")] {
        if let Some((inside, _)) = behind.strip_prefix(open).and_then(|rest| rest.split_once(close)) {
            return Some(inside.to_owned());
        }
    }
    let line = behind.lines().next()?;
    Some(first_sentence(line).trim_matches(['*', ' ']).to_owned())
}

/// Up to a full stop that ends a sentence, not one within a number or before another letter.
fn first_sentence(line: &str) -> &str {
    let mut end = line.len();
    for (at, c) in line.char_indices() {
        let next = line[at + c.len_utf8()..].chars().next();
        if matches!(c, '.' | '!' | '?') && next.is_none_or(char::is_whitespace) && !abbreviates(&line[..at]) {
            end = at;
            break;
        }
    }
    let sentence = &line[..end];
    let reasons = [" because ", " since ", ", because", ", since", ", which ", ", so "];
    reasons.iter().filter_map(|reason| sentence.find(reason)).min().map_or(sentence, |at| &sentence[..at])
}

/// Whether a full stop belongs to what is before it: a.m., p.m., one letter.
fn abbreviates(before: &str) -> bool {
    let word = before.rsplit(char::is_whitespace).next().unwrap_or("");
    matches!(word, "a.m" | "p.m" | "A.M" | "P.M" | "Mr" | "Mrs" | "Dr" | "St")
}

fn last_number(text: &str) -> Option<String> {
    let chars: Vec<char> = text.chars().collect();
    let mut last = None;
    let mut at = 0;
    while at < chars.len() {
        // Digits inside a word (x2, B12) are no numbers.
        let fresh = at == 0 || !(chars[at - 1].is_alphanumeric() || chars[at - 1] == '_');
        let Scan::Found(_, length) = scan(&chars[at..], Commas::Group) else {
            at += 1;
            continue;
        };
        let mut end = at + length;
        // A full stop behind a whole number ends the sentence.
        if chars[end - 1] == '.' {
            end -= 1;
        }
        let after = end.max(at + 1);
        if fresh {
            // 3/4 is one number, 50% has its sign, and so has -5 unless it is a difference.
            if chars.get(end) == Some(&'/')
                && let Scan::Found(_, below) = scan(&chars[end + 1..], Commas::Group)
            {
                end += 1 + below;
                end -= usize::from(chars[end - 1] == '.');
            }
            let percent = chars.get(end) == Some(&'%');
            let minus = at > 0
                && matches!(chars[at - 1], '-' | '−')
                && (at < 2 || !(chars[at - 2].is_alphanumeric() || chars[at - 2] == ')'));
            let start = at - usize::from(minus);
            last = Some(chars[start..end + usize::from(percent)].iter().collect());
        }
        at = end.max(after);
    }
    last
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all(text: &str, rule: &ExtractRule) -> Option<String> {
        extract(text, rule)
    }

    #[test]
    fn boxes() {
        for (text, answer) in [
            ("so \\boxed{5}.", Some("5")),
            ("\\boxed{1} then \\boxed{\\frac{1}{\\sqrt{2}}}", Some("\\frac{1}{\\sqrt{2}}")),
            ("\\boxed{\\left\\{1, 2\\right\\}}", Some("\\left\\{1, 2\\right\\}")),
            ("\\boxed{\\text{a \\} b}}", Some("\\text{a \\} b}")),
            ("\\boxed{5} and \\boxed{6", Some("5")),
            ("\\boxed {7}", Some("7")),
            ("$\\boxed 7$", Some("7")),
            ("\\fbox{8}", Some("8")),
            ("\\boxed{}", None),
            ("\\boxed", None),
            ("5", None),
        ] {
            assert_eq!(all(text, &ExtractRule::Boxed).as_deref(), answer, "{text}");
        }
    }

    #[test]
    fn hashes_and_tags() {
        assert_eq!(all("a\n#### 1,234\nb", &ExtractRule::Hashes).as_deref(), Some("1,234"));
        assert_eq!(all("#### 1\n#### 2", &ExtractRule::Hashes).as_deref(), Some("2"));
        assert_eq!(all("####", &ExtractRule::Hashes), None);
        let tag = ExtractRule::Tag("answer".into());
        assert_eq!(all("<answer>1</answer><answer> 2 </answer>", &tag).as_deref(), Some("2"));
        assert_eq!(all("<answer>1</answer> <answer>2", &tag).as_deref(), Some("1"));
        assert_eq!(all("</answer><answer>", &tag), None);
    }

    #[test]
    fn sentences() {
        for (text, answer) in [
            ("The answer is 5.", "5"),
            ("The answer is: 3.5. Done.", "3.5"),
            ("Final Answer: $x = \\frac12$, I hope", "x = \\frac12"),
            ("**Answer:** 12 apples because they are", "12 apples"),
            ("answer is 4. No: the answer is \\(7\\).", "7"),
            ("The answer is 3:30 p.m. today", "3:30 p.m. today"),
            ("The final answer is $\\boxed{8}$.", "8"),
            ("ANSWER: yes!", "yes"),
            ("Answer:\n42", "42"),
        ] {
            assert_eq!(all(text, &ExtractRule::AnswerIs).as_deref(), Some(answer), "{text}");
        }
        assert_eq!(all("It is 5.", &ExtractRule::AnswerIs), None);
    }

    #[test]
    fn last_numbers() {
        for (text, answer) in [
            ("He has 3 and then 5.", Some("5")),
            ("That is 12-5 = -7", Some("-7")),
            ("10 - 12-5", Some("5")),
            ("about 3/4 of x2", Some("3/4")),
            ("costs $1,234.50, that is 20%", Some("20%")),
            ("none", None),
        ] {
            assert_eq!(all(text, &ExtractRule::LastNumber).as_deref(), answer, "{text}");
        }
    }

    #[test]
    fn thinking_is_not_answering() {
        assert_eq!(
            all("<think>\\boxed{1}</think> It is \\boxed{2}", &ExtractRule::Boxed).as_deref(),
            Some("2")
        );
        assert_eq!(all("<think>\\boxed{1}</think> It is two", &ExtractRule::Boxed), None);
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "(\\\\boxed|\\{|\\}|####|<answer>|</answer>|answer is|[ -~é−\n]){0,30}") {
            let rules = [ExtractRule::Boxed, ExtractRule::Hashes, ExtractRule::Tag("answer".into()),
                ExtractRule::AnswerIs, ExtractRule::LastNumber];
            for rule in &rules {
                let _ = extract(&text, rule);
            }
        }
    }
}
