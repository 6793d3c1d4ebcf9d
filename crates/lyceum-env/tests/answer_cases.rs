//! The checker against the table of hard cases, and properties that hold for any text.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::needless_pass_by_value,
    reason = "a test fails by panicking"
)]

use lyceum_env::answer::{Budget, Rules, Undecided, Verdict, equivalent};
use proptest::prelude::*;

fn check(gold: &str, given: &str) -> Verdict {
    equivalent(gold, given, &Rules::default())
}

#[test]
fn the_table_of_hard_cases() {
    let table = include_str!("answer_cases.tsv");
    let mut wrong = Vec::new();
    let mut checked = 0;
    for (number, line) in table.lines().enumerate().filter(|(_, line)| !line.starts_with('#')) {
        let [verdict, gold, given] = line.split('\t').collect::<Vec<_>>()[..] else {
            panic!("line {}: three columns wanted: {line}", number + 1)
        };
        for (a, b) in [(gold, given), (given, gold)] {
            let got = match check(a, b) {
                Verdict::Equal => "equal",
                Verdict::Different => "different",
                Verdict::Undecided(_) => "undecided",
            };
            if got != verdict {
                wrong.push(format!("line {}: {a}   {b}   is {got}, not {verdict}", number + 1));
            }
        }
        checked += 1;
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
    assert!(checked >= 150, "{checked}");
}

#[test]
fn tolerance_is_an_explicit_choice() {
    let near = |tolerance, gold: &str, given: &str| {
        equivalent(gold, given, &Rules { tolerance, ..Rules::default() }) == Verdict::Equal
    };
    assert!(!near(0.0, "1/3", "0.333"));
    assert!(near(0.01, "1/3", "0.333"));
    assert!(near(1e-4, "\\sqrt{17}", "4.1231"));
    assert!(!near(1e-6, "\\sqrt{17}", "4.1231"));
    assert!(!near(0.01, "100", "102"));
    assert!(near(0.01, "(0.6, 8/3]", "(0.6, 2.6667]"));
    assert!(!near(0.01, "0", "0.001"));
    assert!(!near(f64::NAN, "1/3", "0.333"));
}

/// Answers built to take for ever. Each must end fast; the time is generous for a busy machine.
#[test]
fn hostile_answers_end_soon() {
    let start = std::time::Instant::now();
    let hostile = [
        "(".repeat(1_000_000),
        "9^".repeat(1_000) + "9",
        "9^{9^{9^{9}}}".to_owned(),
        "(9^9)^9".repeat(400),
        "((((((9^99)^99)^99)^99)^99)^99)".to_owned(),
        "\\sqrt{".repeat(50) + "2" + &"}".repeat(50),
        (2..400).map(|n| format!("\\sqrt{{{n}}}")).collect::<Vec<_>>().join("+"),
        "(x+y+z)^{999}".to_owned(),
        "x^{99999}".to_owned(),
        "1".repeat(3_900),
        "1,".repeat(1_900),
        "{".repeat(1_900),
        "\\frac".repeat(700),
        "-".repeat(3_900) + "5",
        "5!!!!!!!!".to_owned(),
        "2000!!".to_owned(),
        "\\begin{pmatrix}".repeat(200),
        "1:".repeat(1_500),
        "\\pm 1 ".repeat(500),
        "1/".repeat(1_900) + "3",
        "\\sin ".repeat(500) + "x",
        "e^{1999}".to_owned(),
        "\\exp(\\exp(\\exp(9)))".to_owned(),
        "\\ln(10^{-3000})".to_owned(),
        "\\sin(10^{3000})".to_owned(),
        "|".repeat(2_000),
        "\\!".repeat(1_900),
        "a\\text{".repeat(600),
        "x+".repeat(1_900) + "x",
        "\\sqrt[64]{2}+\\sqrt[63]{3}+\\sqrt[61]{5}-\\sqrt[59]{7}".to_owned(),
        "(\\sqrt2+\\sqrt3+\\sqrt5+\\sqrt7)^{60}".to_owned(),
        "=".repeat(3_000),
        "\\cup".repeat(900),
        "$".repeat(3_999),
    ];
    for text in &hostile {
        let one = std::time::Instant::now();
        for gold in ["5", "x+1", "\\frac{\\pi}{2}", "(1, 2)"] {
            assert_ne!(check(gold, text), Verdict::Equal, "{text:.60}");
        }
        assert!(one.elapsed().as_secs() < 8, "{:.60} took {:?}", text, one.elapsed());
    }
    assert!(start.elapsed().as_secs() < 40, "{:?}", start.elapsed());
}

#[test]
fn causes_are_told() {
    assert_eq!(check("5", &"1".repeat(5_000)), Verdict::Undecided(Undecided::TooLong));
    assert_eq!(check("5", &("(".repeat(99) + "5" + &")".repeat(99))), Verdict::Undecided(Undecided::TooDeep));
    assert_eq!(check("5", "9^{9^{9^9}}"), Verdict::Undecided(Undecided::Budget));
    assert_eq!(check("5", "1/(2-2)"), Verdict::Undecided(Undecided::Unsupported));
    let little = Rules { budget: Budget { steps: 40, ..Budget::default() }, ..Rules::default() };
    assert_eq!(equivalent("(x+1)^2", "x^2+2x+1", &little), Verdict::Undecided(Undecided::Budget));
}

/// Texts of pieces that answers are made of, in any order.
fn answerish() -> impl Strategy<Value = String> {
    let pieces = prop_oneof![
        "[0-9]{1,4}",
        "[a-zA-Z]",
        "[-+*/^_=<>(){}\\[\\],.;:|!%$ ]",
        "\\\\(frac|sqrt|pi|text|left|right|begin|end|pm|cup|infty|circ|overline|sin|log)",
        "(and|or|cm|dollars|eggs|\\.\\.\\.|½|√|²|°|é|汉)",
    ];
    proptest::collection::vec(pieces, 0..24).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn every_text_equals_itself(text in answerish()) {
        prop_assert_eq!(check(&text, &text), Verdict::Equal);
        prop_assert_eq!(check(&text, &format!(" {text} ")), Verdict::Equal);
    }

    #[test]
    fn the_order_of_gold_and_given_is_nothing(a in answerish(), b in answerish()) {
        let kind = |verdict| match verdict {
            Verdict::Undecided(_) => 2,
            Verdict::Different => 1,
            Verdict::Equal => 0,
        };
        prop_assert_eq!(kind(check(&a, &b)), kind(check(&b, &a)));
    }

    #[test]
    fn any_unicode_ends(a in ".{0,60}", b in ".{0,60}") {
        let _ = check(&a, &b);
    }

    #[test]
    fn ways_to_write_a_fraction_agree(n in -500i64..500, d in 1i64..50) {
        let plain = format!("{n}/{d}");
        for other in [
            format!("\\frac{{{n}}}{{{d}}}"),
            format!("\\dfrac{{{}}}{{{}}}", 3 * n, 3 * d),
            format!("({n}) \\div {d}"),
            format!("{n}\\cdot\\frac{{1}}{{{d}}}"),
            format!("x = {n}/{d}"),
        ] {
            prop_assert_eq!(check(&plain, &other), Verdict::Equal, "{} {}", plain, other);
        }
        prop_assert_eq!(check(&plain, &format!("{}/{d}", n + 1)), Verdict::Different);
    }

    #[test]
    fn ways_to_write_a_decimal_agree(cents in 0u64..100_000_000) {
        let plain = format!("{}.{:02}", cents / 100, cents % 100);
        prop_assert_eq!(check(&plain, &format!("{cents}/100")), Verdict::Equal);
        prop_assert_eq!(check(&plain, &format!("{cents}e-2")), Verdict::Equal);
        prop_assert_eq!(check(&plain, &format!("${plain}")), Verdict::Equal);
        prop_assert_eq!(check(&plain, &format!("{cents} \\times 10^{{-2}}")), Verdict::Equal);
        prop_assert_eq!(check(&plain, &format!("{}.{:02}1", cents / 100, cents % 100)), Verdict::Different);
    }

    #[test]
    fn expanded_products_equal_and_others_differ(a in -9i64..9, b in -9i64..9, c in 1i64..9) {
        let product = format!("({c}x + {a})(x + {b})");
        let expanded = format!("{c}x^2 + {}x + {}", c * b + a, a * b);
        prop_assert_eq!(check(&product, &expanded), Verdict::Equal);
        prop_assert_eq!(check(&product, &format!("{expanded} + 1")), Verdict::Different);
    }
}
