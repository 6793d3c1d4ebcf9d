//! Multiple choice: which letter an answer picks.

/// The letter, and whether the answer is nothing but the letter.
pub(super) struct Choice {
    letter: char,
    alone: bool,
    /// Whether brackets or a mark make it a choice rather than a variable.
    marked: bool,
}

/// Whether both texts pick a letter and at least one is the bare letter: then, whether it is the same one.
pub(super) fn same_choice(gold: &str, given: &str) -> Option<bool> {
    let (gold, given) = (choice(gold)?, choice(given)?);
    if !gold.alone && !given.alone {
        return None;
    }
    // Unmarked on both sides it may be a variable: then b and B differ.
    if gold.marked || given.marked {
        Some(gold.letter.eq_ignore_ascii_case(&given.letter))
    } else {
        Some(gold.letter == given.letter)
    }
}

/// `C`, `(C)`, `C.`, `c)`, `(C) 5 apples`, `Option C`, `\text{(C)}`.
fn choice(text: &str) -> Option<Choice> {
    let mut text = text.trim();
    for command in ["\\text{", "\\textbf{", "\\mathrm{", "\\mathbf{", "\\mbox{", "\\textrm{"] {
        if let Some(inner) = text.strip_prefix(command) {
            let (inside, rest) = inner.split_once('}')?;
            if !rest.trim().is_empty() {
                return None;
            }
            text = inside.trim();
        }
    }
    for word in ["option", "choice", "answer"] {
        let head = text.get(..word.len()).filter(|head| head.eq_ignore_ascii_case(word));
        if let Some(rest) = head.and_then(|_| text[word.len()..].strip_prefix([' ', ':'])) {
            text = rest.trim_start();
            break;
        }
    }
    let bracketed = text.starts_with('(');
    let mut rest = text.strip_prefix('(').unwrap_or(text).chars();
    let letter = rest.next().filter(|c| matches!(c, 'A'..='J' | 'a'..='j'))?;
    let mut rest = rest.as_str();
    let mut marked = bracketed;
    if bracketed {
        rest = rest.strip_prefix(')')?;
    } else if let Some(after) = rest.strip_prefix([')', '.', ':']) {
        rest = after;
        marked = true;
    }
    let alone = rest.trim_matches(['.', ' ', ')']).is_empty();
    // "A dog" picks nothing; "A. dog" and "(A) dog" do, "f(x)" and "a.b" don't.
    let follows = rest.starts_with(char::is_whitespace) && marked;
    (alone || follows).then_some(Choice { letter, alone, marked })
}

#[cfg(test)]
mod tests {
    use super::same_choice;

    #[test]
    fn letters_are_found_where_they_are_choices() {
        for (gold, given) in
            [("C", "(C)"), ("(c)", "C."), ("B", "B) 12 apples"), ("\\text{(D)}", "Option D"), ("A", "A: yes")]
        {
            assert_eq!(same_choice(gold, given), Some(true), "{gold} {given}");
            assert_eq!(same_choice(given, gold), Some(true), "{given} {gold}");
        }
        assert_eq!(same_choice("C", "(D)"), Some(false));
        assert_eq!(same_choice("b", "B"), Some(false));
        for given in ["A dog", "f(x)", "a.b", "5", "", "Answer", "(A", "ab"] {
            assert_eq!(same_choice("A", given), None, "{given}");
        }
        assert_eq!(same_choice("(A) one", "(A) two"), None);
    }
}
