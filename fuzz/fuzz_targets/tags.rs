//! Tags in what a model wrote: spans and the text outside them tile the whole.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lyceum_text::TagGrammar;

fuzz_target!(|text: &str| {
    let parse = TagGrammar::new(["think", "answer", "search"]).parse(text);
    let mut pieces = parse.outside(text.len());
    pieces.extend(parse.top().map(|span| span.outer.clone()));
    pieces.sort_by_key(|piece| piece.start);
    assert_eq!(pieces.into_iter().map(|piece| &text[piece]).collect::<String>(), text);
});
