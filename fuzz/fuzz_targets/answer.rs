//! Two answers, parted by a line break: compared both ways and with themselves, and looked for in the text.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lyceum_env::answer::{ExtractRule, Rules, Verdict, equivalent, extract};

fuzz_target!(|text: &str| {
    use ExtractRule::{AnswerIs, Boxed, Hashes, LastNumber};
    let (gold, given) = text.split_once('\n').unwrap_or((text, text));
    let [there, back] = [(gold, given), (given, gold)].map(|(a, b)| equivalent(a, b, &Rules::default()));
    // Which side ends an undecided comparison may depend on the order; the verdict may not.
    let undecided = |verdict| matches!(verdict, Verdict::Undecided(_));
    assert!(there == back || undecided(there) && undecided(back), "{there:?}, {back:?}");
    for rule in [Boxed, Hashes, AnswerIs, LastNumber] {
        _ = extract(text, &rule);
    }
});
