//! What kind of answer a text is: a quantity, a list, an interval, an equation, a matrix, words.

use num_bigint::BigInt;
use num_rational::BigRational;

use super::expression::{Constant, Expression, Function};
use super::lex::{Lexeme, Token, lex};
use super::meter::Stop;
use super::number::Commas;
use super::parse::parse;
use super::unit::{self, Unit};
use super::words::{canonical, is_prose, number_words, without_lead};

/// An answer, understood.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Shape {
    /// A value, perhaps with a unit.
    Quantity(Expression, Unit),
    /// Digits in a stated base: `1010_2`.
    Based(String, u32),
    /// A plain list: several solutions, in no order.
    List(Vec<Shape>),
    /// A set in braces.
    Set(Vec<Shape>),
    /// Items in brackets, in order: a point, a vector, an interval.
    Tuple(char, Vec<Shape>, char),
    /// Sets joined.
    Union(Vec<Shape>),
    /// Sides with the signs `= < > ≤ ≥ ≠ ∈` between them.
    Relation(Vec<Side>, Vec<char>),
    /// Rows of entries.
    Matrix(Vec<Vec<Shape>>),
    /// `a:b` or `a:b:c`.
    Ratio(Vec<Expression>),
    /// A time of day in minutes after midnight; whether it was said which half of the day is meant.
    Clock(u32, bool),
    /// Words.
    Text(String),
}

/// A side of a relation.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Side {
    pub(super) shape: Shape,
    /// The name, if it is a lone letter or a function's head such as `f(x)`.
    pub(super) name: Option<String>,
}

/// One way to read a text that can be read in several.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Reading {
    commas: Commas,
    /// Of `a ≈ b`, take b.
    after_approximately: bool,
    /// `5 m` is five metres, not five times m.
    letter_units: bool,
}

/// The shapes of a folded and unwrapped text, the most usual first.
pub(super) fn readings(text: &str) -> Result<Vec<Shape>, Stop> {
    let chars: Vec<char> = text.chars().collect();
    let mut modes = vec![Commas::Group];
    let comma = |i: usize| {
        chars[i] == ','
            && i > 0
            && chars[i - 1].is_ascii_digit()
            && chars.get(i + 1).is_some_and(char::is_ascii_digit)
    };
    if (0..chars.len()).any(comma) {
        modes.push(Commas::Separate);
        if chars.iter().filter(|&&c| c == ',').count() == 1 && !text.contains(['(', '[', '{']) {
            modes.push(Commas::Decimal);
        }
    }
    let sides: &[bool] =
        if text.contains('≈') || text.contains("\\approx") { &[false, true] } else { &[false] };
    let mut shapes: Vec<Shape> = Vec::new();
    for commas in modes {
        for &after_approximately in sides {
            for letter_units in [false, true] {
                let reader = Reader { reading: Reading { commas, after_approximately, letter_units } };
                let shape = reader.shape(&lex(&chars, commas)?)?;
                if !shapes.contains(&shape) {
                    shapes.push(shape);
                }
            }
        }
    }
    Ok(shapes)
}

struct Reader {
    reading: Reading,
}

/// Splits at the tokens outside all brackets that `is_separator` picks.
fn split(lexemes: &[Lexeme], is_separator: impl Fn(&Token) -> bool) -> Vec<&[Lexeme]> {
    let mut parts = Vec::new();
    let mut start = 0;
    for (at, _) in outside(lexemes).filter(|(_, token)| is_separator(token)) {
        parts.push(&lexemes[start..at]);
        start = at + 1;
    }
    parts.push(&lexemes[start..]);
    parts
}

/// The tokens outside all brackets with their places. Round and square brackets close each other: `[0, 1)`.
fn outside(lexemes: &[Lexeme]) -> impl Iterator<Item = (usize, &Token)> {
    let mut depth = 0usize;
    lexemes.iter().enumerate().filter_map(move |(at, lexeme)| match &lexeme.token {
        Token::Open(_) | Token::Begin(_) => {
            depth += 1;
            None
        }
        Token::Close(_) | Token::End(_) => {
            depth = depth.saturating_sub(1);
            None
        }
        token => (depth == 0).then_some((at, token)),
    })
}

/// Whether the bracket that opens `lexemes` closes at their very end.
fn spans_all(lexemes: &[Lexeme]) -> bool {
    let mut depth = 0usize;
    for (at, lexeme) in lexemes.iter().enumerate() {
        match lexeme.token {
            Token::Open(_) | Token::Begin(_) => depth += 1,
            Token::Close(_) | Token::End(_) => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 {
            return at + 1 == lexemes.len();
        }
    }
    false
}

fn is_comma(token: &Token) -> bool {
    matches!(token, Token::Symbol(',' | ';'))
}

fn is_conjunction(token: &Token) -> bool {
    match token {
        Token::Word(word) => matches!(word.as_str(), "and" | "or"),
        Token::Text(text) => {
            let word = text.trim_matches(|c: char| c.is_whitespace() || c == ',');
            matches!(word, "and" | "or" | "")
        }
        _ => false,
    }
}

fn is_relation(token: &Token) -> bool {
    matches!(token, Token::Symbol('=' | '<' | '>' | '≤' | '≥' | '≠' | '∈'))
}

impl Reader {
    fn shape(&self, lexemes: &[Lexeme]) -> Result<Shape, Stop> {
        if lexemes.iter().any(|lexeme| lexeme.token == Token::Symbol('…')) {
            return Ok(words(lexemes));
        }
        let parts = split(lexemes, |token| is_comma(token) || is_conjunction(token));
        // ", and" leaves nothing between its two separators.
        let parts: Vec<&[Lexeme]> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        if parts.len() > 64 {
            return Err(Stop::Budget);
        }
        if let [single] = parts.as_slice() {
            return self.single(single);
        }
        let mut items = Vec::new();
        for part in parts {
            match self.single(part)? {
                Shape::List(inner) => items.extend(inner),
                shape => items.push(shape),
            }
        }
        Ok(Shape::List(items))
    }

    /// A shape without commas outside brackets.
    fn single(&self, lexemes: &[Lexeme]) -> Result<Shape, Stop> {
        let approximately = split(lexemes, |token| *token == Token::Symbol('≈'));
        if let [first, .., last] = approximately.as_slice() {
            return self.single(if self.reading.after_approximately { last } else { first });
        }
        if outside(lexemes).any(|(_, token)| is_relation(token)) {
            return self.relation(lexemes);
        }
        let union = split(lexemes, |token| *token == Token::Symbol('∪'));
        if union.len() > 1 {
            return Ok(Shape::Union(
                union.into_iter().map(|part| self.single(part)).collect::<Result<_, _>>()?,
            ));
        }
        match (lexemes.first().map(|l| &l.token), lexemes.last().map(|l| &l.token)) {
            (Some(Token::Open(open)), Some(Token::Close(close))) if spans_all(lexemes) => {
                self.bracketed(*open, &lexemes[1..lexemes.len() - 1], *close, lexemes)
            }
            (Some(Token::Begin(_)), Some(Token::End(_))) if spans_all(lexemes) => {
                self.matrix(&lexemes[1..lexemes.len() - 1])
            }
            (Some(Token::Letter(set)), _) if lexemes.len() == 1 && set == "𝔹R" => Ok(real_line()),
            (Some(Token::Symbol('∅')), _) if lexemes.len() == 1 => Ok(Shape::Set(Vec::new())),
            _ => self.plain(lexemes),
        }
    }

    fn relation(&self, lexemes: &[Lexeme]) -> Result<Shape, Stop> {
        let signs: Vec<char> = outside(lexemes)
            .filter_map(|(_, token)| match token {
                Token::Symbol(sign) if is_relation(token) => Some(*sign),
                _ => None,
            })
            .collect();
        let mut sides = Vec::new();
        for part in split(lexemes, is_relation) {
            sides.push(Side { shape: self.single(part)?, name: name(part) });
        }
        Ok(Shape::Relation(sides, signs))
    }

    fn bracketed(&self, open: char, inner: &[Lexeme], close: char, whole: &[Lexeme]) -> Result<Shape, Stop> {
        // Items in brackets nest by recursion; the depth is bounded here as it is in the parser.
        if nesting(inner) > 60 {
            return Err(Stop::Deep);
        }
        let items = split(inner, is_comma);
        let shapes = |items: Vec<&[Lexeme]>| -> Result<Vec<Shape>, Stop> {
            if items.len() > 64 {
                return Err(Stop::Budget);
            }
            items.into_iter().map(|item| self.single(item)).collect()
        };
        match (open, close) {
            ('⦃', '⦄') if inner.is_empty() => Ok(Shape::Set(Vec::new())),
            ('⦃', '⦄') => {
                // { x | x > 3 } and { x : x > 3 } are what stands behind the bar.
                let built = split(inner, |token| matches!(token, Token::Symbol('|' | ':')));
                // The head may say where the variable is from: { x ∈ R : x > 3 }.
                if let [head, condition] = built.as_slice()
                    && name(split(head, |token| *token == Token::Symbol('∈'))[0]).is_some()
                {
                    return self.shape(condition);
                }
                Ok(Shape::Set(shapes(items)?))
            }
            ('{', '}') => self.shape(inner),
            ('(' | '[', ')' | ']') if items.len() > 1 => Ok(Shape::Tuple(open, shapes(items)?, close)),
            ('⟨', '⟩') if items.len() > 1 => Ok(Shape::Tuple('(', shapes(items)?, ')')),
            ('(', ')') if contains_structure(inner) => self.single(inner),
            ('(' | '[', ')' | ']')
                if matches!(inner.first(), Some(Lexeme { token: Token::Begin(_), .. })) =>
            {
                self.single(inner)
            }
            _ => self.plain(whole),
        }
    }

    fn matrix(&self, inner: &[Lexeme]) -> Result<Shape, Stop> {
        let mut rows = Vec::new();
        for row in split(inner, |token| *token == Token::Symbol('↵')) {
            if row.is_empty() {
                continue;
            }
            let entries = split(row, |token| *token == Token::Symbol('&'));
            rows.push(entries.into_iter().map(|entry| self.single(entry)).collect::<Result<Vec<_>, _>>()?);
        }
        Ok(Shape::Matrix(rows))
    }

    fn plain(&self, lexemes: &[Lexeme]) -> Result<Shape, Stop> {
        if let Some(shape) = based(lexemes) {
            return Ok(shape);
        }
        if let Some(shape) = clock(lexemes) {
            return Ok(shape);
        }
        let parts = split(lexemes, |token| *token == Token::Symbol(':'));
        if (2..=4).contains(&parts.len()) {
            let parts: Result<Vec<Expression>, Stop> = parts.into_iter().map(parse).collect();
            return match parts {
                Ok(parts) => Ok(Shape::Ratio(parts)),
                Err(Stop::Syntax) => Ok(words(lexemes)),
                Err(stop) => Err(stop),
            };
        }
        match self.quantity(lexemes)? {
            Some((value, unit)) if value.has_plus_minus() => Ok(Shape::List(vec![
                Shape::Quantity(value.with_signs(true), unit.clone()),
                Shape::Quantity(value.with_signs(false), unit),
            ])),
            Some((value, unit)) => Ok(Shape::Quantity(value, unit)),
            None => Ok(words(lexemes)),
        }
    }

    /// A value with its unit, or nothing if these are words.
    fn quantity(&self, lexemes: &[Lexeme]) -> Result<Option<(Expression, Unit)>, Stop> {
        let (money, lexemes) = leading_currency(without_lead(lexemes));
        let lexemes = lexemes.as_slice();
        if let Some((number, rest)) = number_words(lexemes) {
            return Ok(unit::read(rest).map(|unit| (Expression::integer(number), unit.joined(&money))));
        }
        // A known unit first (`5 cm` is no product of letters), then a plain expression, then counted things.
        let mut counted = None;
        for at in 1..lexemes.len() {
            let (value, behind) = lexemes.split_at(at);
            // The degrees in sin 30° belong to the angle.
            let is_angle = value.iter().any(|lexeme| matches!(lexeme.token, Token::Function(_)));
            if !self.begins_unit(&behind[0]) || is_prose(value) || is_angle {
                continue;
            }
            let Some(unit) = unit::read(behind) else { continue };
            let value = match parse(value) {
                Ok(value) => value,
                Err(Stop::Syntax) => continue,
                Err(stop) => return Err(stop),
            };
            let belongs = matches!(behind[0].token, Token::Text(_)) || value.is_constant();
            match (belongs, unit.is_known()) {
                (true, true) => return Ok(Some((value, unit.joined(&money)))),
                (true, false) if counted.is_none() => counted = Some((value, unit.joined(&money))),
                _ => {}
            }
        }
        if !is_prose(lexemes) {
            match parse(lexemes) {
                Ok(value) => return Ok(Some((value, money))),
                Err(Stop::Syntax) => {}
                Err(stop) => return Err(stop),
            }
        }
        Ok(counted)
    }

    fn begins_unit(&self, lexeme: &Lexeme) -> bool {
        match &lexeme.token {
            Token::Word(_) | Token::Text(_) | Token::Function(Function::Min) => true,
            Token::Symbol(symbol) => matches!(symbol, '%' | '°' | '¤' | '$' | '€' | '£' | '¥' | '₹' | '¢'),
            // A lone letter is a unit only where it stands apart, and only in this reading.
            Token::Letter(letter) => {
                self.reading.letter_units
                    && lexeme.spaced
                    && matches!(letter.as_str(), "m" | "g" | "s" | "h" | "L" | "l")
            }
            _ => false,
        }
    }
}

/// The currency before a number, and the number with its sign.
fn leading_currency(lexemes: &[Lexeme]) -> (Unit, Vec<Lexeme>) {
    let currency = |lexeme: &Lexeme| match &lexeme.token {
        Token::Symbol('¤' | '$' | '€' | '£' | '¥' | '₹') => unit::read(std::slice::from_ref(lexeme)),
        Token::Word(word) if matches!(word.as_str(), "USD" | "EUR" | "GBP" | "INR" | "Rs" | "RMB") => {
            unit::read(std::slice::from_ref(lexeme))
        }
        _ => None,
    };
    let is_minus = |lexeme: &Lexeme| lexeme.token == Token::Symbol('-');
    match lexemes {
        [first, rest @ ..] if !rest.is_empty() && currency(first).is_some() => {
            // "Rs. 50"
            let rest = match rest {
                [Lexeme { token: Token::Symbol('.'), .. }, rest @ ..] => rest,
                rest => rest,
            };
            (currency(first).unwrap_or_else(Unit::none), rest.to_vec())
        }
        [minus, second, rest @ ..] if is_minus(minus) && !rest.is_empty() && currency(second).is_some() => {
            let mut kept = vec![minus.clone()];
            kept.extend_from_slice(rest);
            (currency(second).unwrap_or_else(Unit::none), kept)
        }
        _ => (Unit::none(), lexemes.to_vec()),
    }
}

/// The name on a side of an equation that only says what is equal: `x`, `x_1`, `f(x)`, `P(A)`, `AB`.
fn name(lexemes: &[Lexeme]) -> Option<String> {
    // Braces around the whole are left over from \vec{v} and its like.
    if let [Lexeme { token: Token::Open('{'), .. }, inner @ .., _] = lexemes
        && spans_all(lexemes)
    {
        return name(inner);
    }
    let mut after_index = false;
    for (_, token) in outside(lexemes) {
        let fits = match token {
            Token::Letter(_) | Token::Word(_) | Token::Text(_) | Token::Overline => true,
            Token::Symbol('_' | '\'') => true,
            Token::Number(..) => after_index,
            _ => false,
        };
        if !fits {
            return None;
        }
        after_index = *token == Token::Symbol('_');
    }
    match lexemes.first().map(|lexeme| &lexeme.token) {
        // x(x + 1) is a product, f(x + 1) is a value of f.
        Some(Token::Letter(head)) => {
            let bracketed = lexemes.iter().any(|lexeme| lexeme.token == Token::Open('('));
            let is_function = head.chars().all(|c| c.is_uppercase() || "fghpqrs".contains(c));
            (!bracketed || is_function).then(|| canonical(lexemes))
        }
        Some(Token::Word(_) | Token::Text(_) | Token::Overline) => Some(canonical(lexemes)),
        _ => None,
    }
}

/// A number in a stated base.
fn based(lexemes: &[Lexeme]) -> Option<Shape> {
    let tokens: Vec<&Token> = lexemes.iter().map(|lexeme| &lexeme.token).collect();
    let ([_, Token::Symbol('_'), Token::Number(_, Some(base))]
    | [_, Token::Symbol('_'), Token::Open('{'), Token::Number(_, Some(base)), Token::Close('}')]) =
        tokens.as_slice()
    else {
        return None;
    };
    let base: u32 = base.parse().ok().filter(|base| (2..=36).contains(base))?;
    match tokens.first() {
        Some(Token::Number(_, Some(digits))) if digits.chars().all(|c| c.is_digit(base)) => {
            Some(Shape::Based(digits.clone(), base))
        }
        _ => None,
    }
}

/// The value of digits in a base.
pub(super) fn in_base(digits: &str, base: u32) -> Option<BigRational> {
    BigInt::parse_bytes(digits.as_bytes(), base).map(BigRational::from_integer)
}

/// A time of day: `3:30`, `15:30`, `3:30 p.m.`, `3 PM`.
fn clock(lexemes: &[Lexeme]) -> Option<Shape> {
    let digits = |i: usize| match &lexemes.get(i)?.token {
        Token::Number(_, Some(digits)) if digits.len() <= 2 => {
            digits.parse::<u32>().ok().map(|n| (n, digits.len()))
        }
        _ => None,
    };
    let (hour, _) = digits(0)?;
    let colon = lexemes.get(1).is_some_and(|lexeme| lexeme.token == Token::Symbol(':'));
    let (minute, rest) = if colon {
        let (minute, length) = digits(2)?;
        if length != 2 {
            return None;
        }
        (minute, &lexemes[3..])
    } else {
        (0, &lexemes[1..])
    };
    let mut half = String::new();
    for lexeme in rest {
        match &lexeme.token {
            Token::Word(word) | Token::Letter(word) => half.push_str(word),
            Token::Text(text) => half.extend(text.chars().filter(|c| c.is_alphabetic())),
            Token::Symbol('.') => {}
            _ => return None,
        }
    }
    if minute >= 60 {
        return None;
    }
    match half.to_lowercase().as_str() {
        "" if colon && hour <= 24 => Some(Shape::Clock(60 * hour + minute, false)),
        "am" if (1..=12).contains(&hour) => Some(Shape::Clock(60 * (hour % 12) + minute, true)),
        "pm" if (1..=12).contains(&hour) => Some(Shape::Clock(60 * (hour % 12 + 12) + minute, true)),
        _ => None,
    }
}

fn real_line() -> Shape {
    let infinity = Expression::Constant(Constant::Infinity);
    let end = |value| Shape::Quantity(value, Unit::none());
    Shape::Tuple('(', vec![end(Expression::Negative(Box::new(infinity.clone()))), end(infinity)], ')')
}

/// Whether brackets hold a relation or a union rather than an expression.
fn contains_structure(inner: &[Lexeme]) -> bool {
    outside(inner).any(|(_, token)| is_relation(token) || *token == Token::Symbol('∪'))
}

fn nesting(lexemes: &[Lexeme]) -> usize {
    let (mut depth, mut deepest) = (0usize, 0);
    for lexeme in lexemes {
        match lexeme.token {
            Token::Open(_) | Token::Begin(_) => depth += 1,
            Token::Close(_) | Token::End(_) => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}

fn words(lexemes: &[Lexeme]) -> Shape {
    Shape::Text(canonical(lexemes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(text: &str) -> Shape {
        readings(text).unwrap().swap_remove(0)
    }

    #[test]
    fn shapes_are_told_apart() {
        assert!(matches!(first("3, 5"), Shape::List(items) if items.len() == 2));
        assert!(matches!(first("x = 3 or x = 5"), Shape::List(items) if items.len() == 2));
        assert!(matches!(first("1, 2, and 3"), Shape::List(items) if items.len() == 3));
        assert!(matches!(first("\\{3, 5\\}"), Shape::Set(items) if items.len() == 2));
        assert!(matches!(first("[0, 1)"), Shape::Tuple('[', _, ')')));
        assert!(matches!(first("(0,1) \\cup [2, 3]"), Shape::Union(parts) if parts.len() == 2));
        assert!(matches!(first("-1 < x \\leq 3"), Shape::Relation(sides, _) if sides.len() == 3));
        assert!(
            matches!(first("\\begin{pmatrix} 1 & 2 \\\\ 3 & 4 \\end{pmatrix}"), Shape::Matrix(rows) if rows.len() == 2)
        );
        assert!(matches!(first("(1+2)(3)"), Shape::Quantity(..)));
        assert!(matches!(first("3:30"), Shape::Clock(210, false)));
        assert!(matches!(first("3:4"), Shape::Ratio(_)));
        assert_eq!(first("1010_2"), Shape::Based("1010".into(), 2));
        assert_eq!(first("The  East."), Shape::Text("east".into()));
        assert_eq!(first("\\text{Evelyn}"), Shape::Text("evelyn".into()));
        assert!(matches!(first("3 \\pm \\sqrt2"), Shape::List(items) if items.len() == 2));
    }

    #[test]
    fn units_are_split_from_values_only_where_they_stand_behind_one() {
        let unit = |text: &str| match first(text) {
            Shape::Quantity(_, unit) => unit,
            other => panic!("{text}: {other:?}"),
        };
        for text in
            ["5 cm", "18 duck eggs", "$5", "-\\$5", "50\\%", "90°", "864 \\mbox{ inches}^2", "2.5 million"]
        {
            assert!(!unit(text).is_none(), "{text}");
        }
        for text in ["xy", "4abc", "2x", "5m", "\\sin x", "i + j"] {
            assert!(unit(text).is_none(), "{text}");
        }
    }
}
