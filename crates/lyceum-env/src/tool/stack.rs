//! A small stack machine: programs of words, whole numbers on a stack.

use super::{Reply, Tool};

/// Most words of a program; each is one step.
const LONGEST: usize = 200;
/// Most numbers on the stack.
const DEEPEST: usize = 64;
/// The names of inputs.
const INPUTS: [&str; 3] = ["a", "b", "c"];

/// Why a program has no value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It has more words than are run.
    #[error("the program has more than {LONGEST} words")]
    TooLong,
    /// The stack grew too deep.
    #[error("more than {DEEPEST} numbers on the stack")]
    TooDeep,
    /// A word takes more numbers than there are.
    #[error("`{0}` finds too few numbers on the stack")]
    Underflow(String),
    /// A number out of range.
    #[error("a number out of range")]
    Overflow,
    /// A word that means nothing.
    #[error("`{0}` is no word; there are numbers, a b c, + - * dup swap over drop")]
    Unknown(String),
    /// Not one number at the end.
    #[error("{0} numbers are left at the end; one is the program's value")]
    Leftover(usize),
}

/// The value of a program: the one number that is left on the stack. Words are whole numbers, the inputs `a b c`, `+ - *` and
/// `dup swap over drop`.
///
/// ```
/// use lyceum_env::tool::stack::run;
/// assert_eq!(run("a b + 2 *", &[3, 4]), Ok(14));
/// assert_eq!(run("a dup *", &[5]), Ok(25));
/// assert!(run("+", &[]).is_err() && run("1 2", &[]).is_err() && run("b", &[5]).is_err());
/// ```
///
/// # Errors
/// Says why there is no value.
pub fn run(program: &str, inputs: &[i64]) -> Result<i64, Fault> {
    let mut stack: Vec<i64> = Vec::new();
    for (at, word) in program.split_whitespace().enumerate() {
        if at == LONGEST {
            return Err(Fault::TooLong);
        }
        step(word, inputs, &mut stack)?;
        if stack.len() > DEEPEST {
            return Err(Fault::TooDeep);
        }
    }
    match stack.as_slice() {
        [value] => Ok(*value),
        more => Err(Fault::Leftover(more.len())),
    }
}

fn step(word: &str, inputs: &[i64], stack: &mut Vec<i64>) -> Result<(), Fault> {
    let missing = || Fault::Underflow(word.to_owned());
    let pop = |stack: &mut Vec<i64>| stack.pop().ok_or_else(missing);
    match word {
        "+" | "-" | "*" => {
            let (second, first) = (pop(stack)?, pop(stack)?);
            let value = match word {
                "+" => first.checked_add(second),
                "-" => first.checked_sub(second),
                _ => first.checked_mul(second),
            };
            stack.push(value.ok_or(Fault::Overflow)?);
        }
        "dup" => {
            let top = *stack.last().ok_or_else(missing)?;
            stack.push(top);
        }
        "swap" => {
            let (second, first) = (pop(stack)?, pop(stack)?);
            stack.extend([second, first]);
        }
        "over" => {
            let below = stack.len().checked_sub(2).ok_or_else(missing)?;
            stack.push(stack[below]);
        }
        "drop" => _ = pop(stack)?,
        _ => {
            let input = INPUTS.iter().position(|name| *name == word).and_then(|at| inputs.get(at));
            let number = input.copied().or_else(|| word.parse().ok());
            stack.push(number.ok_or_else(|| Fault::Unknown(word.to_owned()))?);
        }
    }
    Ok(())
}

/// The machine as a tool: `a b + 2 * | 3 4` runs a program on inputs.
pub struct Stack;

impl Tool for Stack {
    fn name(&self) -> &str {
        "stack"
    }

    fn description(&self) -> &str {
        "runs a stack program: `a b + 2 * | 3 4`"
    }

    fn answer(&self, argument: &str) -> Reply {
        let (program, inputs) = argument.split_once('|').unwrap_or((argument, ""));
        let inputs: Result<Vec<i64>, _> =
            inputs.split_whitespace().take(INPUTS.len()).map(str::parse).collect();
        let Ok(inputs) = inputs else {
            return Reply::Refused("inputs are whole numbers, as in `a b + | 3 4`".into());
        };
        match run(program, &inputs) {
            Ok(value) => Reply::Said(value.to_string()),
            Err(fault) => Reply::Refused(fault.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn words_and_faults() {
        assert_eq!(run("1 2 swap -", &[]), Ok(1));
        assert_eq!(run("1 2 over + *", &[]), Ok(3));
        assert_eq!(run("7 8 drop", &[]), Ok(7));
        assert_eq!(run("", &[]), Err(Fault::Leftover(0)));
        assert_eq!(run("dup", &[]), Err(Fault::Underflow("dup".into())));
        assert_eq!(run("1 over", &[]), Err(Fault::Underflow("over".into())));
        assert_eq!(run("x", &[]), Err(Fault::Unknown("x".into())));
        assert_eq!(run(&format!("{} 2 *", i64::MAX), &[]), Err(Fault::Overflow));
        assert_eq!(run(&"1 ".repeat(65), &[]), Err(Fault::TooDeep));
        assert_eq!(run(&format!("1 {}", "dup drop ".repeat(120)), &[]), Err(Fault::TooLong));
        assert_eq!(Stack.answer("a b + 2 * | 3 4"), Reply::Said("14".into()));
        assert!(matches!(Stack.answer("a | x"), Reply::Refused(_)));
    }

    proptest! {
        #[test]
        fn any_text_ends(text in "[-+*abc0-9 dupswaover]{0,300}") {
            let _ = run(&text, &[1, 2, 3]);
        }
    }
}
