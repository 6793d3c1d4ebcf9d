//! A tokenizer.json: read, and used on one text. Panics of the library are errors by the time they come here.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lyceum_text::{SpecialIds, SpecialTokens, Tokenizer};

fuzz_target!(init: {
    // In place of the hook that aborts also where a panic is caught. One that is not caught still ends the run.
    std::panic::set_hook(Box::new(|_| {}));
}, |json: &[u8]| {
    if let Ok(tokenizer) = Tokenizer::from_json(json, SpecialIds::default(), None)
        && let Ok(ids) = tokenizer.encode_document("Hello, wörld: 12 + 34 = 46")
    {
        assert!(ids.iter().all(|&id| (id as usize) < tokenizer.vocab_size()));
        _ = tokenizer.decode(&ids, SpecialTokens::Keep);
    }
});
