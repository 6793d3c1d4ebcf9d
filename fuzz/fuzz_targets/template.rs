//! A chat template: compiled, and run on one conversation.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lyceum_text::{ChatTemplate, Message, RenderOptions};

fuzz_target!(|source: &str| {
    let messages = [("system", "Be brief."), ("user", "1+1?"), ("assistant", "2")]
        .map(|(role, text)| Message::new(role, text));
    let options = RenderOptions { add_generation_prompt: true, ..RenderOptions::default() };
    let rendered = ChatTemplate::new(source, [("eos_token", "<|im_end|>".to_owned())])
        .and_then(|template| template.render_marked(&messages, &options));
    if let Err(error) = rendered {
        assert!(!error.to_string().contains("panicked"), "{error}");
    }
});
