//! From text to tokens: LaTeX and plain notation give the same ones.

use num_rational::BigRational;

use super::expression::{Constant, Function};
use super::meter::Stop;
use super::number::{Commas, Scan, scan};

/// A piece of an answer.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    /// A number; its digits if it is a plain whole one.
    Number(BigRational, Option<String>),
    /// A vulgar fraction in one character.
    Vulgar(BigRational),
    /// One letter, Latin, Greek or of a number set.
    Letter(String),
    /// Two or more letters in a row that are not a known name.
    Word(String),
    /// The content of `\text{...}` and its like.
    Text(String),
    Function(Function),
    Constant(Constant),
    /// `\frac`, `\sqrt`, `\binom`, `\overline`: what takes arguments.
    Fraction,
    Root,
    Binomial,
    Overline,
    /// An opening or closing mark; a set's braces are `⦃ ⦄`, those of LaTeX groups `{ }`.
    Open(char),
    Close(char),
    /// Everything else of one character, and `\\` as `↵`.
    Symbol(char),
    Begin(String),
    End(String),
}

/// A token with where it stands.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Lexeme {
    pub(super) token: Token,
    /// Whether blanks stand before it.
    pub(super) spaced: bool,
    /// Its first character and the one after its last.
    pub(super) span: (usize, usize),
}

/// What a LaTeX command means.
enum Meaning {
    Token(Token),
    Nothing,
    /// A delimiter's size: a full stop after it means no delimiter.
    Sizing,
    Textual,
    NumberSet,
    Environment,
}

/// Splits a folded text into tokens.
pub(super) fn lex(text: &[char], commas: Commas) -> Result<Vec<Lexeme>, Stop> {
    let mut lexemes = Vec::new();
    let mut at = 0;
    let mut spaced = false;
    while let Some(&c) = text.get(at) {
        if c.is_whitespace() {
            spaced = true;
            at += 1;
            continue;
        }
        let start = at;
        let token = match c {
            '0'..='9' | '.' => match scan(&text[at..], commas) {
                Scan::Found(literal, length) => {
                    at += length;
                    Some(Token::Number(literal.value, literal.digits))
                }
                Scan::TooLarge => return Err(Stop::Budget),
                Scan::None if text[at..].starts_with(&['.', '.', '.']) => {
                    at += 3;
                    Some(Token::Symbol('…'))
                }
                Scan::None => {
                    at += 1;
                    Some(Token::Symbol('.'))
                }
            },
            '\\' => {
                let (token, end) = command(text, at);
                at = end;
                token
            }
            _ if c.is_alphabetic() && vulgar(c).is_none() && !is_symbol_letter(c) => {
                let end = at + text[at..].iter().take_while(|c| c.is_alphabetic()).count();
                let word: String = text[at..end].iter().collect();
                at = end;
                Some(named(&word))
            }
            _ => {
                at += 1;
                Some(single(c))
            }
        };
        if let Some(token) = token {
            lexemes.push(Lexeme { token, spaced, span: (start, at) });
            spaced = false;
        } else {
            spaced = true;
        }
    }
    // 5 x 10^3: no number stands behind a variable, so this x is a cross.
    for at in 1..lexemes.len().saturating_sub(1) {
        let is_number = |lexeme: &Lexeme| matches!(lexeme.token, Token::Number(..));
        let is_cross = matches!(&lexemes[at].token, Token::Letter(name) if name == "x" || name == "X");
        if is_cross && is_number(&lexemes[at - 1]) && is_number(&lexemes[at + 1]) {
            lexemes[at].token = Token::Symbol('*');
        }
    }
    Ok(lexemes)
}

fn is_symbol_letter(c: char) -> bool {
    matches!(c, 'π' | '∞')
}

fn vulgar(c: char) -> Option<(i64, i64)> {
    Some(match c {
        '½' => (1, 2),
        '⅓' => (1, 3),
        '⅔' => (2, 3),
        '¼' => (1, 4),
        '¾' => (3, 4),
        '⅕' => (1, 5),
        '⅖' => (2, 5),
        '⅗' => (3, 5),
        '⅘' => (4, 5),
        '⅙' => (1, 6),
        '⅚' => (5, 6),
        '⅛' => (1, 8),
        '⅜' => (3, 8),
        '⅝' => (5, 8),
        '⅞' => (7, 8),
        _ => return None,
    })
}

fn single(c: char) -> Token {
    if let Some((above, below)) = vulgar(c) {
        return Token::Vulgar(BigRational::new(above.into(), below.into()));
    }
    match c {
        '(' | '[' | '{' | '⟨' | '⌊' | '⌈' => Token::Open(c),
        ')' | ']' | '}' | '⟩' | '⌋' | '⌉' => Token::Close(c),
        'π' => Token::Constant(Constant::Pi),
        '∞' => Token::Constant(Constant::Infinity),
        '√' => Token::Root,
        _ => Token::Symbol(c),
    }
}

/// A run of letters in plain notation.
fn named(word: &str) -> Token {
    if let Some(function) = function(word) {
        return Token::Function(function);
    }
    match word {
        "pi" | "Pi" => Token::Constant(Constant::Pi),
        "inf" | "infty" | "infinity" | "Infinity" | "oo" => Token::Constant(Constant::Infinity),
        "sqrt" => Token::Root,
        "degrees" | "degree" | "deg" => Token::Symbol('°'),
        "percent" | "percentage" | "pct" => Token::Symbol('%'),
        _ => {
            let mut letters = word.chars();
            match (letters.next(), letters.next()) {
                (Some(letter), None) => Token::Letter(letter.to_string()),
                _ => Token::Word(word.to_owned()),
            }
        }
    }
}

fn function(name: &str) -> Option<Function> {
    Some(match name {
        "sin" => Function::Sin,
        "cos" => Function::Cos,
        "tan" | "tg" => Function::Tan,
        "cot" | "ctg" => Function::Cot,
        "sec" => Function::Sec,
        "csc" | "cosec" => Function::Csc,
        "arcsin" | "asin" => Function::Arcsin,
        "arccos" | "acos" => Function::Arccos,
        "arctan" | "atan" => Function::Arctan,
        "sinh" => Function::Sinh,
        "cosh" => Function::Cosh,
        "tanh" => Function::Tanh,
        "exp" => Function::Exp,
        "ln" => Function::Ln,
        "log" | "lg" => Function::Log,
        "abs" => Function::Absolute,
        "floor" => Function::Floor,
        "ceil" => Function::Ceiling,
        "gcd" => Function::Gcd,
        "lcm" => Function::Lcm,
        "min" => Function::Min,
        "max" => Function::Max,
        _ => return None,
    })
}

/// The command at `text[at]`, a backslash; the token if it stands for one, and where it ends.
fn command(text: &[char], at: usize) -> (Option<Token>, usize) {
    let letters = text[at + 1..].iter().take_while(|c| c.is_ascii_alphabetic()).count();
    if letters == 0 {
        let c = text.get(at + 1).copied().unwrap_or(' ');
        let token = match c {
            '{' => Some(Token::Open('⦃')),
            '}' => Some(Token::Close('⦄')),
            '\\' => Some(Token::Symbol('↵')),
            '|' => Some(Token::Symbol('|')),
            '%' => Some(Token::Symbol('%')),
            // A dollar that is money, whatever other dollars there are.
            '$' => Some(Token::Symbol('¤')),
            '(' | ')' | '[' | ']' => None,
            c if c.is_whitespace() => None,
            c => Some(Token::Symbol(c)),
        };
        return (token, (at + 2).min(text.len()));
    }
    let end = at + 1 + letters;
    let name: String = text[at + 1..end].iter().collect();
    match meaning(&name) {
        Meaning::Token(token) => (Some(token), end),
        Meaning::Nothing => (None, end),
        Meaning::Sizing => (None, end + usize::from(text.get(end) == Some(&'.'))),
        Meaning::Textual => match group(text, end) {
            Some((content, end)) => {
                let token = match (function(content.trim()), content.trim().trim_start_matches('\\')) {
                    (Some(function), _) => Token::Function(function),
                    (None, "$") => Token::Symbol('¤'),
                    (None, "%") => Token::Symbol('%'),
                    _ => Token::Text(content),
                };
                (Some(token), end)
            }
            None => (None, end),
        },
        Meaning::NumberSet => match group(text, end) {
            Some((content, end)) => (Some(Token::Letter(format!("𝔹{}", content.trim()))), end),
            None => (None, end),
        },
        Meaning::Environment => {
            let (content, mut end) = group(text, end).unwrap_or_default();
            if name == "begin" {
                // An array's column format says nothing.
                if content.trim() == "array"
                    && let Some((_, after)) = group(text, end)
                {
                    end = after;
                }
                (Some(Token::Begin(content)), end.max(at + 1 + letters))
            } else {
                (Some(Token::End(content)), end.max(at + 1 + letters))
            }
        }
    }
}

/// The content of the braces that follow, and where they end.
fn group(text: &[char], from: usize) -> Option<(String, usize)> {
    let open = from + text[from.min(text.len())..].iter().take_while(|c| c.is_whitespace()).count();
    if text.get(open) != Some(&'{') {
        return None;
    }
    let mut depth = 0usize;
    let mut escaped = false;
    for (i, &c) in text.iter().enumerate().skip(open) {
        match c {
            _ if escaped => {}
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        escaped = c == '\\' && !escaped;
        if depth == 0 {
            return Some((text[open + 1..i].iter().collect(), i + 1));
        }
    }
    None
}

fn meaning(name: &str) -> Meaning {
    if let Some(function) = function(name) {
        return Meaning::Token(Token::Function(function));
    }
    let symbol = |c: char| Meaning::Token(Token::Symbol(c));
    match name {
        "frac" | "dfrac" | "tfrac" | "cfrac" => Meaning::Token(Token::Fraction),
        "binom" | "dbinom" | "tbinom" => Meaning::Token(Token::Binomial),
        "sqrt" => Meaning::Token(Token::Root),
        "overline" | "bar" => Meaning::Token(Token::Overline),
        "pi" => Meaning::Token(Token::Constant(Constant::Pi)),
        "infty" => Meaning::Token(Token::Constant(Constant::Infinity)),
        "cdot" | "times" | "ast" | "cdotp" => symbol('*'),
        "div" => symbol('/'),
        "pm" => symbol('±'),
        "mp" => symbol('∓'),
        "le" | "leq" | "leqslant" => symbol('≤'),
        "ge" | "geq" | "geqslant" => symbol('≥'),
        "ne" | "neq" => symbol('≠'),
        "lt" => symbol('<'),
        "gt" => symbol('>'),
        "in" => symbol('∈'),
        "cup" | "bigcup" => symbol('∪'),
        "cap" | "bigcap" => symbol('∩'),
        "setminus" | "backslash" => symbol('∖'),
        "approx" | "simeq" | "sim" | "thickapprox" => symbol('≈'),
        "vert" | "lvert" | "rvert" | "mid" => symbol('|'),
        "colon" => symbol(':'),
        "degree" | "circ" => symbol('°'),
        "ldots" | "dots" | "cdots" | "dotsc" => symbol('…'),
        "prime" => symbol('\''),
        "emptyset" | "varnothing" => symbol('∅'),
        "to" | "rightarrow" | "Rightarrow" | "implies" => symbol('→'),
        "lor" => Meaning::Token(Token::Word("or".to_owned())),
        "land" => Meaning::Token(Token::Word("and".to_owned())),
        "langle" => Meaning::Token(Token::Open('⟨')),
        "rangle" => Meaning::Token(Token::Close('⟩')),
        "lfloor" => Meaning::Token(Token::Open('⌊')),
        "rfloor" => Meaning::Token(Token::Close('⌋')),
        "lceil" => Meaning::Token(Token::Open('⌈')),
        "rceil" => Meaning::Token(Token::Close('⌉')),
        "lbrace" => Meaning::Token(Token::Open('⦃')),
        "rbrace" => Meaning::Token(Token::Close('⦄')),
        "lbrack" => Meaning::Token(Token::Open('[')),
        "rbrack" => Meaning::Token(Token::Close(']')),
        "euro" => symbol('€'),
        "pounds" => symbol('£'),
        "left" | "right" | "big" | "Big" | "bigg" | "Bigg" | "bigl" | "bigr" | "Bigl" | "Bigr" | "biggl"
        | "biggr" | "middle" => Meaning::Sizing,
        "displaystyle" | "textstyle" | "limits" | "nolimits" | "quad" | "qquad" | "mathbf" | "boldsymbol"
        | "bm" | "pmb" | "mathit" | "mathcal" | "vec" | "hat" | "tilde" | "overrightarrow" | "underline"
        | "boxed" | "fbox" | "ensuremath" | "hspace" | "bf" | "rm" | "it" | "arc" => Meaning::Nothing,
        "text" | "mbox" | "textbf" | "textit" | "textrm" | "texttt" | "textsf" | "mathrm" | "mathsf"
        | "operatorname" | "hbox" | "emph" => Meaning::Textual,
        "mathbb" | "Bbb" => Meaning::NumberSet,
        "begin" | "end" => Meaning::Environment,
        // Greek letters and whatever else: a name of its own. Unknown commands thus equal only themselves.
        _ => Meaning::Token(Token::Letter(format!("\\{name}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn tokens(text: &str) -> Vec<Token> {
        let chars: Vec<char> = text.chars().collect();
        lex(&chars, Commas::Group).unwrap().into_iter().map(|lexeme| lexeme.token).collect()
    }

    #[test]
    fn latex_and_plain_notation_give_the_same_tokens() {
        assert_eq!(tokens("2 \\cdot \\pi \\leq \\sin x"), tokens("2*π ≤ sin x"));
        assert_eq!(tokens("\\left( \\mathbf{v}, \\infty \\right]"), tokens("( {v}, inf]"));
        assert_eq!(tokens("5 \\text{ cm}"), [tokens("5"), vec![Token::Text(" cm".into())]].concat());
        assert_eq!(tokens("\\left. x \\right|"), tokens("x |"));
        assert_eq!(tokens("\\begin{array}{cc}1\\end{array}"), {
            let mut expected = vec![Token::Begin("array".into())];
            expected.extend(tokens("1"));
            expected.push(Token::End("array".into()));
            expected
        });
    }

    proptest! {
        #[test]
        fn spans_are_in_order_for_any_text(text in "(\\\\[a-z{}]{0,6}|[ -~é½π∞√]){0,40}") {
            let chars: Vec<char> = text.chars().collect();
            if let Ok(lexemes) = lex(&chars, Commas::Group) {
                let mut last = 0;
                for lexeme in lexemes {
                    prop_assert!(lexeme.span.0 >= last && lexeme.span.1 > lexeme.span.0 && lexeme.span.1 <= chars.len());
                    last = lexeme.span.1;
                }
            }
        }
    }
}
