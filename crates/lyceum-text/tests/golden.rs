//! Equality with `transformers`: the expectations are made by `golden/make.py`.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a golden file that cannot be read fails its test")]

use std::fs;
use std::path::PathBuf;

use lyceum_text::{
    ChatTemplate, GgufVocabulary, Message, RenderOptions, SpecialTokens, TextStream, Tokenizer, TrainOn,
    encode_chat,
};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

fn golden(name: &str) -> Value {
    serde_json::from_str(&text(name)).unwrap()
}

fn text(name: &str) -> String {
    let path: PathBuf = [env!("CARGO_MANIFEST_DIR"), "tests", "golden", name].iter().collect();
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn read<T: DeserializeOwned>(value: &Value) -> T {
    T::deserialize(value).unwrap()
}

/// A GGUF vocabulary as the golden files write it.
fn vocabulary(case: &Value) -> GgufVocabulary {
    let list = |key: &str| case.get(key).cloned().unwrap_or_else(|| Value::Array(Vec::new()));
    let id = |key: &str| case.get(key).and_then(Value::as_u64).map(|id| id as u32);
    GgufVocabulary {
        model: read(&case["model"]),
        pre: case.get("pre").map(read),
        tokens: read(&list("tokens")),
        token_types: read(&list("token_types")),
        scores: read(&list("scores")),
        merges: read(&list("merges")),
        bos: id("bos"),
        eos: id("eos"),
        pad: id("pad"),
        unk: id("unk"),
        add_space_prefix: case.get("add_space_prefix").and_then(Value::as_bool),
        ..GgufVocabulary::default()
    }
}

#[test]
fn every_kind_of_gguf_vocabulary_encodes_and_decodes_alike() {
    let golden = golden("pipelines.json");
    let texts: Vec<String> = read(&golden["texts"]);
    for case in golden["cases"].as_array().unwrap() {
        let tokenizer = Tokenizer::from_gguf(&vocabulary(case)).unwrap();
        let kind = format!("{} {} {}", case["model"], case["pre"], case["add_space_prefix"]);
        for (text, expected) in texts.iter().zip(case["encodings"].as_array().unwrap()) {
            let ids: Vec<u32> = read(&expected[0]);
            assert_eq!(tokenizer.encode_document(text).unwrap(), ids, "{kind}: {text:?}");
            let decoded = expected.get(1).map_or_else(|| text.clone(), read);
            assert_eq!(tokenizer.decode(&ids, SpecialTokens::Keep).unwrap(), decoded, "{kind}: {text:?}");
            let mut stream = TextStream::new(SpecialTokens::Keep);
            let mut streamed: String = ids.iter().map(|&id| stream.push(&tokenizer, id).unwrap()).collect();
            streamed += &stream.finish(&tokenizer).unwrap();
            assert_eq!(streamed, decoded, "streamed, {kind}: {text:?}");
        }
    }
}

#[test]
fn a_pipeline_survives_its_folder() {
    let folder = tempfile::tempdir().unwrap();
    let golden = golden("pipelines.json");
    let texts: Vec<String> = read(&golden["texts"]);
    for case in golden["cases"].as_array().unwrap() {
        let tokenizer = Tokenizer::from_gguf(&vocabulary(case)).unwrap();
        tokenizer.save(folder.path()).unwrap();
        let again = Tokenizer::from_folder(folder.path()).unwrap();
        assert_eq!(again.fingerprint().unwrap(), tokenizer.fingerprint().unwrap());
        for text in &texts {
            assert_eq!(again.encode_document(text).unwrap(), tokenizer.encode_document(text).unwrap());
        }
    }
}

/// `None` where they agree.
fn disagreement(
    expected: &Value,
    template: &ChatTemplate,
    messages: &Value,
    options: &RenderOptions,
) -> Option<String> {
    let messages: Vec<Message> = read(messages);
    let rendered = template.render(&messages, options);
    match (expected.get("text").and_then(Value::as_str), rendered) {
        (Some(text), Ok(rendered)) if rendered == text => None,
        (None, Err(_)) => None,
        (Some(text), rendered) => Some(format!("expected {text:?}\n  not    {rendered:?}")),
        (None, Ok(rendered)) => Some(format!("expected {}\n  not {rendered:?}", expected["error"])),
    }
}

fn templates() -> (Value, Tokenizer, RenderOptions) {
    let golden = golden("templates.json");
    let tokenizer = Tokenizer::from_gguf(&vocabulary(&golden["vocabulary"])).unwrap();
    let now = Some(golden["now"].as_str().unwrap().parse().unwrap());
    (golden, tokenizer, RenderOptions { now, ..RenderOptions::default() })
}

#[test]
fn whole_templates_render_alike() {
    let (golden, tokenizer, options) = templates();
    for case in golden["conversations"].as_array().unwrap() {
        let name = case["template"].as_str().unwrap();
        let tokenizer = tokenizer.clone().with_chat_template(text(&format!("templates/{name}.jinja")));
        let mut variables: Map<String, Value> = read(&case["options"]);
        let options = RenderOptions {
            tools: variables.remove("tools").map(|tools| read(&tools)),
            add_generation_prompt: variables.remove("add_generation_prompt") == Some(Value::Bool(true)),
            variables,
            ..options.clone()
        };
        let template = tokenizer.chat_template().unwrap();
        let problem = disagreement(case, &template, &case["messages"], &options);
        assert_eq!(problem, None, "{name} {}", case["options"]);
    }
}

#[test]
fn single_constructs_render_alike() {
    let (golden, tokenizer, mut options) = templates();
    options.variables.insert("v".into(), golden["values"].clone());
    let mut problems = Vec::new();
    for case in golden["snippets"].as_array().unwrap() {
        let source = case["template"].as_str().unwrap();
        let problem = match tokenizer.clone().with_chat_template(source).chat_template() {
            Ok(template) => disagreement(case, &template, &golden["snippet_messages"], &options),
            Err(error) if case.get("text").is_some() => Some(error.to_string()),
            Err(_) => None,
        };
        problems.extend(problem.map(|problem| format!("{source:?}\n  {problem}")));
    }
    assert!(problems.is_empty(), "{} snippets differ\n{}", problems.len(), problems.join("\n"));
}

#[test]
fn generation_blocks_mask_alike() {
    let (golden, tokenizer, options) = templates();
    let tokenizer = tokenizer.with_chat_template(text("templates/marked.jinja"));
    let template = tokenizer.chat_template().unwrap();
    for case in golden["masks"].as_array().unwrap() {
        let messages: Vec<Message> = read(&case["messages"]);
        let chat = encode_chat(&tokenizer, &template, &messages, &options, TrainOn::AllAssistant).unwrap();
        assert_eq!(chat.ids, read::<Vec<u32>>(&case["ids"]));
        let mask: Vec<u8> = read(&case["mask"]);
        assert_eq!(chat.loss, mask.iter().map(|&bit| bit == 1).collect::<Vec<_>>());
    }
}
