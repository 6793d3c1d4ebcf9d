//! The oracle: what each line of a solution is worth.

use std::ops::Range;

use super::arithmetic::{Chain, Operator};

/// The judgement of one line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepKind {
    /// The next operation of the question, applied to the number where the text stands, with the right result; or the
    /// answer line that states that number after the last operation.
    Correct,
    /// A well-formed step or answer that is not correct, or a filler that states another number.
    Wrong,
    /// `so N` with N the number where the text stands.
    Filler,
    /// Not a line of the language, or anything after the answer line.
    Malformed,
}

/// One line of a solution with its judgement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepLabel {
    /// The line's bytes in the text, without its newline.
    pub span: Range<usize>,
    /// The judgement, local to the line: after a wrong step the text stands at the number that the step states, and a
    /// later step that follows from there is correct.
    pub kind: StepKind,
    /// Whether no line up to and including this one is wrong or malformed. Labels in the manner of "everything after
    /// the first mistake is wrong" (PRM800K) are `kind` where this holds, else wrong.
    pub sound: bool,
    /// The number on an answer line.
    pub answer: Option<i64>,
}

enum Line {
    Step { left: i64, operator: Operator, right: i64, result: i64 },
    Filler(i64),
    Answer(i64),
}

/// Labels every line of `text` as a solution of `chain`. Empty lines are malformed but for newlines at the end.
#[must_use]
pub fn label_steps(chain: &Chain, text: &str) -> Vec<StepLabel> {
    let mut labels = Vec::new();
    let mut value = chain.start;
    let mut pending = chain.steps.iter();
    let mut sound = true;
    let mut answered = false;
    let mut start = 0;
    let text = text.trim_end_matches('\n');
    if text.is_empty() {
        return labels;
    }
    for line in text.split('\n') {
        let mut answer = None;
        let kind = match parse(line) {
            _ if answered => StepKind::Malformed,
            None => StepKind::Malformed,
            Some(Line::Filler(stated)) if stated == value => StepKind::Filler,
            Some(Line::Filler(_)) => StepKind::Wrong,
            Some(Line::Answer(stated)) => {
                answer = Some(stated);
                answered = true;
                judge(stated == value && pending.len() == 0)
            }
            Some(Line::Step { left, operator, right, result }) => {
                let expected = pending.next() == Some(&(operator, right)) && left == value;
                value = result;
                judge(expected && chain.apply(left, operator, right) == result)
            }
        };
        sound &= !matches!(kind, StepKind::Wrong | StepKind::Malformed);
        labels.push(StepLabel { span: start..start + line.len(), kind, sound, answer });
        start += line.len() + 1;
    }
    labels
}

fn judge(correct: bool) -> StepKind {
    if correct { StepKind::Correct } else { StepKind::Wrong }
}

fn parse(line: &str) -> Option<Line> {
    if let Some(number) = line.strip_prefix("so ") {
        return Some(Line::Filler(integer(number)?));
    }
    if let Some(number) = line.strip_prefix("answer ") {
        return Some(Line::Answer(integer(number)?));
    }
    let (left, result) = line.split_once('=')?;
    // The operator is the first one after the left number's own sign.
    let at = left.char_indices().skip(1).find(|&(_, c)| Operator::from_symbol(c).is_some())?.0;
    Some(Line::Step {
        left: integer(&left[..at])?,
        operator: Operator::from_symbol(left[at..].chars().next()?)?,
        right: integer(&left[at + 1..])?,
        result: integer(result)?,
    })
}

/// A number as the task writes it: no plus sign, no spaces, no leading zeros.
fn integer(text: &str) -> Option<i64> {
    text.parse().ok().filter(|value: &i64| value.to_string() == text)
}

#[cfg(test)]
mod tests {
    use super::StepKind::{Correct, Filler, Malformed, Wrong};
    use super::*;
    use proptest::prelude::*;

    fn kinds(text: &str) -> Vec<StepKind> {
        let chain = Chain::parse("37 +5 *3 -41", 100).unwrap();
        label_steps(&chain, text).into_iter().map(|label| label.kind).collect()
    }

    #[test]
    fn a_right_solution_with_fillers() {
        let text = "so 37\n37+5=42\nso 42\n42*3=26\n26-41=85\nanswer 85\n";
        assert_eq!(kinds(text), [Filler, Correct, Filler, Correct, Correct, Correct]);
    }

    #[test]
    fn after_a_mistake_steps_are_judged_from_the_stated_number() {
        let chain = Chain::parse("37 +5 *3 -41", 100).unwrap();
        let labels = label_steps(&chain, "37+5=43\n43*3=29\n29-41=88\nanswer 88");
        assert_eq!(labels.iter().map(|l| l.kind).collect::<Vec<_>>(), [Wrong, Correct, Correct, Correct]);
        assert!(labels.iter().all(|l| !l.sound));
        assert_eq!(labels[3].answer, Some(88));
        assert_eq!(labels[1].span, 8..15);
    }

    #[test]
    fn skipped_repeated_and_foreign_steps_are_wrong() {
        assert_eq!(kinds("37*3=11"), [Wrong]);
        assert_eq!(kinds("37+5=42\n37+5=42"), [Correct, Wrong]);
        assert_eq!(kinds("37+5=42\nanswer 42"), [Correct, Wrong]);
        assert_eq!(kinds("so 38"), [Wrong]);
    }

    #[test]
    fn lines_outside_the_language_are_malformed() {
        assert_eq!(kinds(""), []);
        for line in ["hello", "37 + 5 = 42", "37+5", "37+05=42", "so", "answer", "=", "+=", "é+5=1", "37/5=7"]
        {
            assert_eq!(kinds(line), [Malformed], "{line}");
        }
        assert_eq!(kinds("37+5=42\n\n42*3=26"), [Correct, Malformed, Correct]);
        let labels = kinds("37+5=42\n42*3=26\n26-41=85\nanswer 85\nanswer 85");
        assert_eq!(labels.last(), Some(&Malformed));
    }

    proptest! {
        #[test]
        fn spans_tile_any_text(text in "[0-9+*=\\-\nsoanwer é]{0,60}") {
            let chain = Chain::parse("37 +5 *3 -41", 100).unwrap();
            let lines: Vec<&str> = label_steps(&chain, &text).iter().map(|l| &text[l.span.clone()]).collect();
            prop_assert_eq!(lines.join("\n"), text.trim_end_matches('\n'));
        }
    }
}
