//! From tokens to an expression.
//!
//! ```text
//! sum      = product { (+ | - | ± | ∓) product }
//! product  = signed { (* | / | nothing) signed }
//! signed   = { + | - | ± | ∓ } power
//! power    = postfix [ ^ exponent ]
//! postfix  = primary { ! | % | ° }
//! primary  = number | mixed number | letter | constant | ( sum ) | | sum | | \frac | √ | function argument
//! ```

use num_rational::BigRational;
use num_traits::Signed;

use super::expression::{Constant, Expression, Function};
use super::lex::{Lexeme, Token};
use super::meter::Stop;

/// Deepest nesting. Everything that recurses over an expression relies on it.
const DEEPEST: usize = 60;
/// Most tokens of an expression.
const MOST_TOKENS: usize = 2_000;

/// Reads the whole of `lexemes` as one expression.
pub(super) fn parse(lexemes: &[Lexeme]) -> Result<Expression, Stop> {
    if lexemes.len() > MOST_TOKENS {
        return Err(Stop::Budget);
    }
    let mut parser = Parser { lexemes: lexemes.to_vec(), at: 0, depth: 0, bars: 0 };
    let expression = parser.sum()?;
    if parser.at < parser.lexemes.len() { Err(Stop::Syntax) } else { Ok(expression) }
}

struct Parser {
    lexemes: Vec<Lexeme>,
    at: usize,
    depth: usize,
    /// Open `|`: inside them a bar closes.
    bars: usize,
}

impl Parser {
    fn peek(&self) -> Option<&Token> {
        self.lexemes.get(self.at).map(|lexeme| &lexeme.token)
    }

    fn is_symbol(&self, symbol: char) -> bool {
        self.peek() == Some(&Token::Symbol(symbol))
    }

    fn take_symbol(&mut self, symbol: char) -> bool {
        let found = self.is_symbol(symbol);
        self.at += usize::from(found);
        found
    }

    fn take_open(&mut self, open: char) -> bool {
        let found = self.peek() == Some(&Token::Open(open));
        self.at += usize::from(found);
        found
    }

    fn take_close(&mut self, close: char) -> Result<(), Stop> {
        if self.peek() != Some(&Token::Close(close)) {
            return Err(Stop::Syntax);
        }
        self.at += 1;
        Ok(())
    }

    fn deeper<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T, Stop>) -> Result<T, Stop> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(Stop::Deep);
        }
        let result = read(self);
        self.depth -= 1;
        result
    }

    fn sum(&mut self) -> Result<Expression, Stop> {
        self.deeper(|parser| {
            let mut parts = vec![parser.product()?];
            loop {
                if parser.take_symbol('+') {
                    parts.push(parser.product()?);
                } else if parser.take_symbol('-') {
                    parts.push(Expression::Negative(Box::new(parser.product()?)));
                } else if parser.take_symbol('±') {
                    parts.push(Expression::PlusMinus(true, Box::new(parser.product()?)));
                } else if parser.take_symbol('∓') {
                    parts.push(Expression::PlusMinus(false, Box::new(parser.product()?)));
                } else {
                    break;
                }
            }
            Ok(if parts.len() == 1 { parts.swap_remove(0) } else { Expression::Sum(parts) })
        })
    }

    fn product(&mut self) -> Result<Expression, Stop> {
        let mut factors = vec![self.signed()?];
        loop {
            if self.take_symbol('*') {
                factors.push(self.signed()?);
            } else if self.take_symbol('/') {
                // a / b / c is a * (1 / b) * (1 / c): a tree that is wide, not deep.
                let divisor = self.signed()?;
                factors.push(Expression::Quotient(Box::new(Expression::integer(1)), Box::new(divisor)));
            } else if self.begins_factor() {
                factors.push(self.power()?);
            } else {
                return Ok(product_of(factors));
            }
        }
    }

    /// Whether what follows can stand beside a factor as a factor. A number can't: `x2` and `2 3` are no products.
    fn begins_factor(&self) -> bool {
        match self.peek() {
            Some(
                Token::Letter(_)
                | Token::Constant(_)
                | Token::Function(_)
                | Token::Fraction
                | Token::Root
                | Token::Binomial
                | Token::Overline
                | Token::Word(_),
            ) => true,
            Some(Token::Open(c)) => matches!(c, '(' | '[' | '{' | '⌊' | '⌈'),
            Some(Token::Text(text)) => text.trim().chars().count() == 1,
            Some(Token::Symbol('|')) => self.bars == 0,
            _ => false,
        }
    }

    fn signed(&mut self) -> Result<Expression, Stop> {
        let mut negative = false;
        loop {
            if self.take_symbol('-') {
                negative = !negative;
            } else if self.is_symbol('±') || self.is_symbol('∓') {
                let above = self.is_symbol('±');
                self.at += 1;
                let inner = self.deeper(Self::signed)?;
                let either = Expression::PlusMinus(above != negative, Box::new(inner));
                return Ok(either);
            } else if !self.take_symbol('+') {
                break;
            }
        }
        let value = self.power()?;
        Ok(if negative { Expression::Negative(Box::new(value)) } else { value })
    }

    fn power(&mut self) -> Result<Expression, Stop> {
        let base = self.postfix()?;
        if !self.take_symbol('^') && !self.take_double_star() {
            return Ok(base);
        }
        let exponent = self.deeper(Self::exponent)?;
        let power = Expression::Power(Box::new(base), Box::new(exponent));
        if self.is_symbol('^') {
            // Braces close an exponent, so that {a^b}^c and a^{b}^c do not arise in honest answers.
            return Err(Stop::Syntax);
        }
        self.marks(power)
    }

    fn take_double_star(&mut self) -> bool {
        let star = |i: usize| self.lexemes.get(i).is_some_and(|lexeme| lexeme.token == Token::Symbol('*'));
        let found = star(self.at) && star(self.at + 1);
        self.at += 2 * usize::from(found);
        found
    }

    fn exponent(&mut self) -> Result<Expression, Stop> {
        if self.take_open('{') {
            let inner = self.sum()?;
            self.take_close('}')?;
            return Ok(inner);
        }
        let mut negative = false;
        while self.is_symbol('-') || self.is_symbol('+') {
            negative ^= self.is_symbol('-');
            self.at += 1;
        }
        let base = self.primary()?;
        // Powers associate to the right: 2^3^2 is 2^9.
        let value = if self.take_symbol('^') {
            let exponent = self.deeper(Self::exponent)?;
            Expression::Power(Box::new(base), Box::new(exponent))
        } else {
            base
        };
        Ok(if negative { Expression::Negative(Box::new(value)) } else { value })
    }

    fn postfix(&mut self) -> Result<Expression, Stop> {
        let primary = self.primary()?;
        self.marks(primary)
    }

    /// Marks behind a value: a factorial, a percent sign, degrees.
    fn marks(&mut self, mut value: Expression) -> Result<Expression, Stop> {
        for _ in 0..4 {
            value = if self.take_symbol('!') {
                Expression::Call(Function::Factorial, vec![value])
            } else if self.take_symbol('%') {
                Expression::Quotient(Box::new(value), Box::new(Expression::integer(100)))
            } else if self.take_symbol('°') {
                Expression::Product(vec![value, Expression::Constant(Constant::Degree)])
            } else {
                return Ok(value);
            };
        }
        Err(Stop::Syntax)
    }

    fn primary(&mut self) -> Result<Expression, Stop> {
        let Some(token) = self.peek().cloned() else { return Err(Stop::Syntax) };
        self.at += 1;
        match token {
            Token::Number(value, digits) => Ok(self.mixed(value, digits.is_some())),
            Token::Vulgar(value) => Ok(Expression::rational(value)),
            Token::Letter(name) => self.letter(name),
            Token::Text(text) if text.trim().chars().count() == 1 => self.letter(text.trim().to_owned()),
            Token::Word(word) => self.word(&word),
            Token::Constant(constant) => Ok(Expression::Constant(constant)),
            Token::Open(open) => self.bracketed(open),
            Token::Symbol('|') => {
                self.bars += 1;
                let inner = self.sum()?;
                self.bars -= 1;
                if !self.take_symbol('|') {
                    return Err(Stop::Syntax);
                }
                Ok(Expression::Call(Function::Absolute, vec![inner]))
            }
            Token::Fraction => {
                let (above, below) = (self.deeper(Self::argument)?, self.deeper(Self::argument)?);
                Ok(Expression::Quotient(Box::new(above), Box::new(below)))
            }
            Token::Binomial => {
                let (n, k) = (self.deeper(Self::argument)?, self.deeper(Self::argument)?);
                Ok(Expression::Call(Function::Binomial, vec![n, k]))
            }
            Token::Root => self.deeper(Self::root),
            Token::Overline => self.overlined(),
            Token::Function(function) => self.deeper(|parser| parser.call(function)),
            _ => Err(Stop::Syntax),
        }
    }

    /// A number, or a mixed one: `1 1/2`, `1\frac{1}{2}`, `1½`. The fraction must be a proper one.
    fn mixed(&mut self, value: BigRational, plain: bool) -> Expression {
        let whole = Expression::rational(value.clone());
        if !plain {
            return whole;
        }
        let found = match self.peek() {
            Some(Token::Vulgar(fraction)) => Some((fraction.clone(), 1)),
            Some(Token::Fraction) => self.plain_fraction(),
            Some(Token::Number(..)) if self.lexemes[self.at].spaced => {
                let slash = self.token(self.at + 1) == Some(&Token::Symbol('/'));
                let pair = self.digits(self.at).zip(self.digits(self.at + 2)).filter(|_| slash);
                pair.and_then(|(above, below)| proper(above, below)).map(|fraction| (fraction, 3))
            }
            _ => None,
        };
        match found {
            Some((fraction, length)) => {
                self.at += length;
                Expression::rational(value + fraction)
            }
            None => whole,
        }
    }

    fn token(&self, at: usize) -> Option<&Token> {
        self.lexemes.get(at).map(|lexeme| &lexeme.token)
    }

    /// The digits of a plain whole number.
    fn digits(&self, at: usize) -> Option<&str> {
        match self.token(at) {
            Some(Token::Number(_, Some(digits))) => Some(digits),
            _ => None,
        }
    }

    /// The proper fraction of plain numbers that `\frac` begins here, and how many tokens it takes.
    fn plain_fraction(&self) -> Option<(BigRational, usize)> {
        let first = self.at + 1;
        // \frac12: both arguments in one run of digits.
        if let Some(digits) = self.digits(first).filter(|digits| digits.len() == 2) {
            return Some((proper(&digits[..1], &digits[1..])?, 2));
        }
        let argument = |at: usize| match self.token(at)? {
            Token::Open('{') if self.token(at + 2) == Some(&Token::Close('}')) => {
                Some((self.digits(at + 1)?, 3))
            }
            _ => self.digits(at).filter(|digits| digits.len() == 1).map(|digits| (digits, 1)),
        };
        let (above, length) = argument(first)?;
        let (below, more) = argument(first + length)?;
        Some((proper(above, below)?, 1 + length + more))
    }

    /// A letter with its index and primes, which belong to its name.
    fn letter(&mut self, mut name: String) -> Result<Expression, Stop> {
        if name == "i" && !self.is_symbol('_') {
            return Ok(Expression::Constant(Constant::I));
        }
        if name == "e" && !self.is_symbol('_') {
            return Ok(Expression::Constant(Constant::E));
        }
        if self.take_symbol('_') {
            name.push('_');
            name.push_str(&self.index()?);
        }
        while self.take_symbol('\'') {
            name.push('\'');
        }
        Ok(Expression::Letter(name))
    }

    fn index(&mut self) -> Result<String, Stop> {
        let one = |token: &Token| match token {
            Token::Number(value, _) => Some(value.to_string()),
            Token::Letter(name) | Token::Word(name) | Token::Text(name) => Some(name.clone()),
            Token::Symbol(symbol @ ('+' | '-' | ',')) => Some(symbol.to_string()),
            _ => None,
        };
        if !self.take_open('{') {
            let index = self.peek().and_then(one).ok_or(Stop::Syntax)?;
            self.at += 1;
            return Ok(index);
        }
        let mut index = String::new();
        while let Some(part) = self.peek().and_then(one) {
            index.push_str(&part);
            self.at += 1;
        }
        self.take_close('}')?;
        Ok(index)
    }

    /// Letters side by side are a product.
    fn word(&mut self, word: &str) -> Result<Expression, Stop> {
        if word.chars().count() > 4 {
            return Err(Stop::Syntax);
        }
        let mut letters: Vec<char> = word.chars().collect();
        let last = letters.pop();
        let mut factors = Vec::new();
        for letter in letters {
            factors.push(match letter {
                'i' => Expression::Constant(Constant::I),
                'e' => Expression::Constant(Constant::E),
                letter => Expression::Letter(letter.to_string()),
            });
        }
        if let Some(last) = last {
            let mut last = self.letter(last.to_string())?;
            if self.take_symbol('^') {
                let exponent = self.deeper(Self::exponent)?;
                last = Expression::Power(Box::new(last), Box::new(exponent));
            }
            factors.push(last);
        }
        Ok(product_of(factors))
    }

    fn bracketed(&mut self, open: char) -> Result<Expression, Stop> {
        let (close, function) = match open {
            '(' => (')', None),
            '[' => (']', None),
            '{' => ('}', None),
            '⌊' => ('⌋', Some(Function::Floor)),
            '⌈' => ('⌉', Some(Function::Ceiling)),
            _ => return Err(Stop::Syntax),
        };
        let bars = std::mem::take(&mut self.bars);
        let inner = self.sum()?;
        self.bars = bars;
        self.take_close(close)?;
        Ok(match function {
            Some(function) => Expression::Call(function, vec![inner]),
            None => inner,
        })
    }

    /// What a command takes: a group, or one digit, letter or command.
    fn argument(&mut self) -> Result<Expression, Stop> {
        if let Some(Token::Number(_, Some(digits))) = self.peek()
            && digits.len() > 1
        {
            let (first, rest) = digits.split_at(1);
            let (first, rest) = (digit_value(first), (digit_value(rest), rest.to_owned()));
            self.lexemes[self.at].token = Token::Number(rest.0, Some(rest.1));
            return Ok(Expression::rational(first));
        }
        if let Some(Token::Number(value, Some(_))) = self.peek() {
            let value = value.clone();
            self.at += 1;
            return Ok(Expression::rational(value));
        }
        self.primary()
    }

    fn root(&mut self) -> Result<Expression, Stop> {
        let degree = if self.take_open('[') {
            let degree = self.sum()?;
            self.take_close(']')?;
            degree
        } else {
            Expression::integer(2)
        };
        // √12 is the root of twelve; \sqrt12 is written by nobody who means 2 √1.
        let radicand = match self.peek() {
            Some(Token::Number(value, _)) => {
                let value = value.clone();
                self.at += 1;
                Expression::rational(value)
            }
            _ => self.argument()?,
        };
        Ok(Expression::Root(Box::new(degree), Box::new(radicand)))
    }

    /// `\overline{AB}`: a name of its own.
    fn overlined(&mut self) -> Result<Expression, Stop> {
        let inner = self.deeper(Self::argument)?;
        Ok(Expression::Letter(format!("\\overline {inner:?}")))
    }

    fn call(&mut self, function: Function) -> Result<Expression, Stop> {
        let mut base = None;
        if function == Function::Log && self.take_symbol('_') {
            base = Some(self.argument()?);
        }
        let power = if self.take_symbol('^') { Some(self.exponent()?) } else { None };
        let inverse = power
            .as_ref()
            .is_some_and(|power| *power == Expression::Negative(Box::new(Expression::integer(1))));
        let function = match (function, inverse) {
            (Function::Sin, true) => Function::Arcsin,
            (Function::Cos, true) => Function::Arccos,
            (Function::Tan, true) => Function::Arctan,
            (_, true) => return Err(Stop::Syntax),
            (function, false) => function,
        };
        let mut arguments: Vec<Expression> = base.into_iter().collect();
        if self.take_open('(') || self.take_open('{') {
            let close = if self.lexemes[self.at - 1].token == Token::Open('(') { ')' } else { '}' };
            let bars = std::mem::take(&mut self.bars);
            arguments.push(self.sum()?);
            while self.take_symbol(',') {
                arguments.push(self.sum()?);
            }
            self.bars = bars;
            self.take_close(close)?;
        } else {
            // sin 2x is sin(2x); sin x cos y and sin x + y end after x.
            let mut factors = vec![self.signed()?];
            while self.begins_factor() && !matches!(self.peek(), Some(Token::Function(_))) {
                factors.push(self.power()?);
            }
            arguments.push(product_of(factors));
        }
        let call = Expression::Call(function, arguments);
        Ok(match power {
            Some(power) if !inverse => Expression::Power(Box::new(call), Box::new(power)),
            _ => call,
        })
    }
}

fn product_of(mut factors: Vec<Expression>) -> Expression {
    if factors.len() == 1 { factors.swap_remove(0) } else { Expression::Product(factors) }
}

fn digit_value(digits: &str) -> BigRational {
    digits.parse::<num_bigint::BigInt>().map(BigRational::from_integer).unwrap_or_default()
}

/// The fraction of two runs of digits, if it is between zero and one.
fn proper(above: &str, below: &str) -> Option<BigRational> {
    let (above, below) = (digit_value(above), digit_value(below));
    (above.is_positive() && above < below).then(|| above / below)
}

#[cfg(test)]
mod tests {
    use super::super::lex::lex;
    use super::super::number::Commas;
    use super::*;

    fn read(text: &str) -> Result<Expression, Stop> {
        let chars: Vec<char> = text.chars().collect();
        parse(&lex(&chars, Commas::Group).unwrap())
    }

    #[test]
    fn notations_of_one_expression_agree() {
        for (one, other) in [
            ("\\frac12", "\\frac{1}{2}"),
            ("\\frac1{2}", "\\frac{1}{2}"),
            ("\\frac{1}2", "\\frac{1}{2}"),
            ("\\sqrt2", "√2"),
            ("\\sqrt[3]{x}", "\\sqrt[3]x"),
            ("2x^{10}", "2x^10"),
            ("x**2", "x^2"),
            ("\\sin^{2} x", "(\\sin x)^2"),
            ("\\sin 2x", "\\sin(2x)"),
            ("-x^2", "-(x^2)"),
            ("2^3^2", "2^{3^2}"),
            ("xy", "x y"),
            ("\\log_2 8", "\\log_{2}(8)"),
            ("\\mathrm{e}", "e"),
            ("1\\frac{1}{2}", "1½"),
            ("1 1/2", "1½"),
        ] {
            assert_eq!(read(one).unwrap(), read(other).unwrap(), "{one} {other}");
        }
    }

    #[test]
    fn what_is_no_expression_is_refused() {
        for text in
            ["", "+", "2 3", "x2", "(", "1)", "(1]", "2^^3", "\\frac{1}", "hello", "5 / ", "|x", "f(x, y)"]
        {
            assert_eq!(read(text), Err(Stop::Syntax), "{text}");
        }
    }

    #[test]
    fn depth_is_bounded() {
        for text in ["(", "{", "-(", "\\sqrt{", "\\sin(", "2^{", "|(", "±"] {
            assert!(matches!(read(&text.repeat(900)), Err(Stop::Deep | Stop::Budget)), "{text}");
        }
        assert!(read(&"-".repeat(1_500)).is_err());
        assert!(read(&format!("{}x", "-".repeat(1_500))).is_ok());
        assert!(read(&vec!["x"; 900].join("+")).is_ok());
    }
}
