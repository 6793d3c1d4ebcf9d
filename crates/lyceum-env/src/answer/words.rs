//! Answers in words: what is prose, what is a number written out, what two texts have in common.

use super::lex::{Lexeme, Token};

/// Whether words, not mathematics, are meant: `east`, `5 men` behind the number, but not `xy` or `4abc`.
pub(super) fn is_prose(lexemes: &[Lexeme]) -> bool {
    let calculates = lexemes.iter().any(|lexeme| {
        matches!(lexeme.token, Token::Number(..) | Token::Vulgar(_) | Token::Fraction | Token::Root)
            || matches!(lexeme.token, Token::Symbol('+' | '-' | '*' | '/' | '^'))
    });
    let is_word = |lexeme: &Lexeme| matches!(lexeme.token, Token::Word(_));
    lexemes.windows(2).any(|pair| is_word(&pair[0]) && is_word(&pair[1]))
        || lexemes.iter().any(|lexeme| match &lexeme.token {
            Token::Text(text) => text.trim().chars().count() > 1,
            Token::Word(word) => {
                let vowel = word.chars().any(|c| "aeiouAEIOU".contains(c));
                let length = word.chars().count();
                !word.is_ascii()
                    || length > 4
                    || vowel && (length == 4 || length == 3 && lexeme.spaced || !calculates)
            }
            _ => false,
        })
}

/// Without words that only hedge or introduce.
pub(super) fn without_lead(lexemes: &[Lexeme]) -> &[Lexeme] {
    match lexemes {
        [Lexeme { token: Token::Word(word), .. }, rest @ ..]
            if matches!(word.as_str(), "about" | "approximately" | "exactly" | "only")
                && !rest.is_empty() =>
        {
            rest
        }
        _ => lexemes,
    }
}

/// A number written out, up to ninety-nine, and what follows it.
pub(super) fn number_words(lexemes: &[Lexeme]) -> Option<(i64, &[Lexeme])> {
    const SMALL: [&str; 20] = [
        "zero",
        "one",
        "two",
        "three",
        "four",
        "five",
        "six",
        "seven",
        "eight",
        "nine",
        "ten",
        "eleven",
        "twelve",
        "thirteen",
        "fourteen",
        "fifteen",
        "sixteen",
        "seventeen",
        "eighteen",
        "nineteen",
    ];
    const TENS: [&str; 8] = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"];
    let value = |lexeme: Option<&Lexeme>, names: &[&str]| -> Option<i64> {
        let word = match &lexeme?.token {
            Token::Word(word) => word.to_lowercase(),
            Token::Text(text) => text.trim().to_lowercase(),
            _ => return None,
        };
        i64::try_from(names.iter().position(|name| *name == word)?).ok()
    };
    if let Some(small) = value(lexemes.first(), &SMALL) {
        return Some((small, &lexemes[1..]));
    }
    let tens = 10 * (value(lexemes.first(), &TENS)? + 2);
    let hyphen = usize::from(lexemes.get(1).is_some_and(|l| l.token == Token::Symbol('-')));
    match value(lexemes.get(1 + hyphen), &SMALL[..10]).filter(|&ones| ones > 0) {
        Some(ones) => Some((tens + ones, &lexemes[2 + hyphen..])),
        None => Some((tens, &lexemes[1..])),
    }
}

/// Words in lower case, one blank between them, no punctuation, no article in front.
pub(super) fn canonical(lexemes: &[Lexeme]) -> String {
    let mut words: Vec<String> = Vec::new();
    for lexeme in lexemes {
        match &lexeme.token {
            Token::Letter(text) | Token::Word(text) | Token::Text(text) => {
                words.extend(text.split(|c: char| !c.is_alphanumeric() && c != '\\').map(str::to_lowercase));
            }
            Token::Number(value, _) | Token::Vulgar(value) => words.push(value.to_string()),
            Token::Function(function) => words.push(format!("{function:?}").to_lowercase()),
            Token::Symbol('.' | ',' | ';' | '!' | '?' | '"' | '\'' | '$' | '`' | '*') => {}
            Token::Symbol(symbol) | Token::Open(symbol) | Token::Close(symbol) => {
                words.push(symbol.to_string());
            }
            other => words.push(format!("{other:?}")),
        }
    }
    words.retain(|word| !word.is_empty());
    if words.len() > 1 && matches!(words[0].as_str(), "the" | "a" | "an") {
        words.remove(0);
    }
    words.join(" ")
}
