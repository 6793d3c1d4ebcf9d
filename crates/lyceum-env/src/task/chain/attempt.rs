//! Attempts with mistakes in them: what a process reward model of chains learns from.

use rand::Rng;

use super::arithmetic::{Chain, Operator};
use super::label::{StepKind, label_steps};
use super::{ChainOptions, JudgedStep};

/// The mistakes that models make.
#[derive(Clone, Copy, PartialEq)]
enum Mistake {
    Result,
    Left,
    Operator,
    Operand,
    LeftOut,
    EarlyEnd,
}

/// A wrong result is what models get wrong most.
const MISTAKES: [Mistake; 8] = [
    Mistake::Result,
    Mistake::Result,
    Mistake::Result,
    Mistake::Left,
    Mistake::Operator,
    Mistake::Operand,
    Mistake::LeftOut,
    Mistake::EarlyEnd,
];

/// A solution in which each line is spoilt by chance, judged line by line. A wrong line is followed by what follows
/// from it, so that later lines can be right again (the judgement is local, see [`label_steps`]).
pub(super) fn attempt(chain: &Chain, options: &ChainOptions, random: &mut impl Rng) -> Vec<JudgedStep> {
    let mut lines: Vec<String> = Vec::new();
    let mut value = chain.start;
    let mut at = 0;
    let slip = |value: i64, random: &mut dyn rand::RngCore| {
        let by = random.random_range(1..=i64::from(options.largest).max(1));
        let moved = if random.random_bool(0.5) { value + by } else { value - by };
        let moved = if chain.modulus > 0 { moved.rem_euclid(chain.modulus) } else { moved };
        if moved == value { value + 1 } else { moved }
    };
    while at < chain.steps.len() {
        if options.attempt_filler > 0.0 && random.random_bool(options.attempt_filler) {
            lines.push(format!("so {value}"));
        }
        let spoilt = random.random_bool(options.mistakes);
        let mistake = spoilt.then(|| MISTAKES[random.random_range(0..MISTAKES.len())]);
        let is = |one: Mistake| mistake == Some(one);
        if is(Mistake::EarlyEnd) && at > 0 {
            break;
        }
        if is(Mistake::LeftOut) && at + 1 < chain.steps.len() {
            at += 1;
        }
        let (mut operator, mut operand) = chain.steps[at];
        if is(Mistake::Operator) {
            operator = if operator == Operator::Plus { Operator::Minus } else { Operator::Plus };
        }
        if is(Mistake::Operand) {
            operand = 1 + (operand + random.random_range(0..8)) % 9;
        }
        let left = if is(Mistake::Left) { slip(value, random) } else { value };
        let right = chain.apply(left, operator, operand);
        let result = if is(Mistake::Result) { slip(right, random) } else { right };
        lines.push(format!("{left}{operator}{operand}={result}"));
        value = result;
        at += 1;
    }
    let stated = if random.random_bool(options.mistakes / 2.0) { slip(value, random) } else { value };
    lines.push(format!("answer {stated}"));
    let labels = label_steps(chain, &lines.join("\n"));
    let judged = lines.into_iter().zip(labels).map(|(text, label)| JudgedStep {
        text,
        right: label.kind == StepKind::Correct || (label.kind == StepKind::Filler && options.filler_is_right),
        kind: if label.kind == StepKind::Filler { "filler" } else { "step" },
    });
    judged.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::keyed::generator;

    fn attempts(options: &ChainOptions) -> Vec<JudgedStep> {
        let chain = Chain::parse("37 +5 *3 -41", 100).unwrap();
        (0..300).flat_map(|i| attempt(&chain, options, &mut generator("test", &[i]))).collect()
    }

    #[test]
    fn without_mistakes_all_is_right() {
        let options = ChainOptions { mistakes: 0.0, ..Default::default() };
        assert!(attempts(&options).iter().all(|step| step.right && step.kind == "step"));
    }

    #[test]
    fn mistakes_are_about_as_many_as_asked_for_and_fillers_are_judged_as_told() {
        let options =
            ChainOptions { mistakes: 0.3, attempt_filler: 0.5, filler_is_right: false, ..Default::default() };
        let steps = attempts(&options);
        let (fillers, rest): (Vec<_>, Vec<_>) = steps.iter().partition(|step| step.kind == "filler");
        assert!(fillers.len() > 200 && fillers.iter().all(|step| !step.right));
        let wrong = rest.iter().filter(|step| !step.right).count() as f64 / rest.len() as f64;
        assert!((0.15..0.45).contains(&wrong), "{wrong}");
        let steps = attempts(&ChainOptions { filler_is_right: true, ..options });
        assert!(steps.iter().filter(|step| step.kind == "filler").all(|step| step.right));
    }
}
