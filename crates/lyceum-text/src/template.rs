//! Chat templates: Jinja programs that come with a model, run as `transformers` runs them.
//!
//! A template is foreign code. It sees nothing but the conversation; its size, its steps, its recursion and what it
//! prints are bounded, so that it can fail but neither hang nor overflow the stack. The memory of values that it builds
//! with operators and filters and does not print is not bounded: the engine has no place to count them.

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use jiff::civil::DateTime;
use minijinja::value::{Object, ValueKind};
use minijinja::{Environment, ErrorKind, State, Value, context};

use crate::deep_stack::with_deep_stack;
use crate::{Error, Message, Result, python_filters, python_json, python_methods, python_text};

/// Longest source accepted, in bytes: what the parser's recursion costs on its stack grows with it.
const SOURCE_BYTES: usize = 64 << 10;
/// Steps a template may take; a message costs about a hundred.
const FUEL: u64 = 2_000_000;
const RECURSION: usize = 64;
/// Most bytes a conversation may become: more than any context holds.
const PRINTED_BYTES: usize = 64 << 20;
/// Most bytes of values it may print on the way there; what stands in a block within a block is printed more than once.
const FORMATTED_BYTES: usize = 4 * PRINTED_BYTES;

const NAME: &str = "chat_template";
/// Unicode keeps these two for a program's own use: they stand around what a `{% generation %}` block wrote.
const OPEN: char = '\u{FDD0}';
const CLOSE: char = '\u{FDD1}';

/// What a template is told beside the messages.
#[derive(Debug, Clone, Default)]
pub struct RenderOptions {
    /// JSON schemas of tools the model may call.
    pub tools: Option<Vec<serde_json::Value>>,
    /// Documents to answer from.
    pub documents: Option<Vec<serde_json::Value>>,
    /// End with the header of an answer, for the model to go on.
    pub add_generation_prompt: bool,
    /// Whatever else the template asks for (`enable_thinking`, `date_string`, ...).
    pub variables: serde_json::Map<String, serde_json::Value>,
    /// What `strftime_now` takes for now; the local time if absent. Fix it to render the same tomorrow.
    pub now: Option<DateTime>,
}

/// A compiled chat template.
#[derive(Debug, Clone)]
pub struct ChatTemplate {
    environment: Arc<Environment<'static>>,
    /// Special tokens by name.
    tokens: serde_json::Map<String, serde_json::Value>,
    marks_generation: bool,
}

impl ChatTemplate {
    /// Compiles `source`. `tokens` are names and texts of special tokens (`bos_token`, ...) that it may print.
    ///
    /// # Errors
    /// [`Error::Template`] with the line that does not compile.
    pub fn new(source: &str, tokens: impl IntoIterator<Item = (&'static str, String)>) -> Result<Self> {
        if source.len() > SOURCE_BYTES {
            let problem = format!("{} bytes long, and at most {SOURCE_BYTES} are accepted", source.len());
            return Err(Error::Template { line: None, problem });
        }
        // Jinja2 reads every line end as a line feed.
        let (source, marks_generation) =
            generation_as_filter(&source.replace("\r\n", "\n").replace('\r', "\n"));
        let mut environment = Environment::new();
        environment.set_trim_blocks(true);
        environment.set_lstrip_blocks(true);
        environment.set_recursion_limit(RECURSION);
        environment.set_fuel(Some(FUEL));
        environment.set_unknown_method_callback(python_methods::call);
        environment.set_formatter(|out, state, value| {
            let text = python_text::str(value);
            // Here and not only at the end, because of blocks that are captured: they pass by `Printed`.
            state.get_or_set_temp_object("__formatted", Formatted::default).take(text.len())?;
            Ok(out.write_str(&text)?)
        });
        environment.add_filter("tojson", python_json::tojson);
        environment.add_filter("indent", python_filters::indent);
        environment.add_filter("string", |value: &Value| python_text::str(value));
        environment.add_filter("__generation", mark_generation);
        environment.add_test("iterable", is_iterable);
        environment.add_test("sequence", is_iterable);
        environment.add_function("raise_exception", raise_exception);
        environment.add_function("strftime_now", strftime_now);
        with_deep_stack(|| environment.add_template_owned(NAME, source))?.map_err(template_error)?;
        let tokens = tokens.into_iter().map(|(name, token)| (name.to_owned(), token.into())).collect();
        Ok(Self { environment: Arc::new(environment), tokens, marks_generation })
    }

    /// Whether the template marks what the assistant writes by `{% generation %}` blocks.
    #[must_use]
    pub fn marks_generation(&self) -> bool {
        self.marks_generation
    }

    /// The conversation as text.
    ///
    /// # Errors
    /// [`Error::Template`] with the line at which the template failed, refused the conversation or took too long.
    pub fn render(&self, messages: &[Message], options: &RenderOptions) -> Result<String> {
        self.run(messages, options, false)
    }

    /// The conversation as text, and the byte ranges of it that `{% generation %}` blocks wrote.
    ///
    /// # Errors
    /// As [`ChatTemplate::render`]; also if the conversation holds one of the two characters used as marks.
    pub fn render_marked(
        &self,
        messages: &[Message],
        options: &RenderOptions,
    ) -> Result<(String, Vec<Range<usize>>)> {
        unmark(&self.run(messages, options, true)?).ok_or_else(|| Error::Template {
            line: None,
            problem: format!("the conversation holds {OPEN:?} or {CLOSE:?}, or generation blocks are nested"),
        })
    }

    fn run(&self, messages: &[Message], options: &RenderOptions, mark: bool) -> Result<String> {
        let mut variables = self.tokens.clone();
        variables.extend(options.variables.clone());
        let context = context! {
            messages => messages.iter().map(with_reasoning).collect::<Vec<_>>(),
            tools => options.tools,
            documents => options.documents,
            add_generation_prompt => options.add_generation_prompt,
            __mark_generation => mark,
            __now => options.now.map(|now| now.to_string()),
            ..Value::from_serialize(variables)
        };
        let render = || {
            let mut printed = Printed::default();
            self.environment.get_template(NAME)?.render_captured_to(context, &mut printed)?;
            Ok(printed.0)
        };
        let bytes = with_deep_stack(render)?.map_err(template_error)?;
        String::from_utf8(bytes).map_err(|error| Error::Template { line: None, problem: error.to_string() })
    }
}

/// What a template printed, up to [`PRINTED_BYTES`].
#[derive(Default)]
struct Printed(Vec<u8>);

impl io::Write for Printed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.len() > PRINTED_BYTES - self.0.len() {
            return Err(io::Error::other(too_long()));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Bytes of the values that one rendering has printed, into the text or into a captured block.
#[derive(Debug, Default)]
struct Formatted(AtomicUsize);

impl Object for Formatted {}

impl Formatted {
    fn take(&self, bytes: usize) -> std::result::Result<(), minijinja::Error> {
        if self.0.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes) > FORMATTED_BYTES {
            return Err(minijinja::Error::new(ErrorKind::InvalidOperation, too_long()));
        }
        Ok(())
    }
}

fn too_long() -> String {
    format!("it prints more than {} MiB", PRINTED_BYTES >> 20)
}

/// Names under which templates look for what the model thought; `transformers` fills the first two from any.
const REASONING: [&str; 3] = ["reasoning_content", "thinking", "reasoning"];

fn with_reasoning(message: &Message) -> serde_json::Value {
    let mut json = serde_json::to_value(message).unwrap_or_default();
    let reasoning =
        REASONING.iter().find_map(|&name| json.get(name).filter(|value| !value.is_null()).cloned());
    if let (Some(reasoning), Some(fields)) = (reasoning, json.as_object_mut()) {
        fields.entry("thinking").or_insert_with(|| reasoning.clone());
        fields.insert("reasoning_content".to_owned(), reasoning);
    }
    json
}

/// `{% generation %}` is no tag that the engine knows, but a filter block is the same thing: the body is rendered on
/// its own and passed through. Returns whether there is one.
fn generation_as_filter(source: &str) -> (String, bool) {
    let mut out = String::with_capacity(source.len());
    let mut found = false;
    let mut rest = source;
    while let Some(at) = rest.find("{%") {
        let tag = rest[at + 2..].trim_start_matches(['-', '+']).trim_start();
        let word = tag.split(|c: char| !c.is_ascii_alphabetic()).next().unwrap_or_default();
        let filter = match word {
            "generation" => "filter __generation",
            "endgeneration" => "endfilter",
            other => other,
        };
        found |= filter != word;
        out.push_str(&rest[..rest.len() - tag.len()]);
        out.push_str(filter);
        rest = &tag[word.len()..];
    }
    out.push_str(rest);
    (out, found)
}

fn mark_generation(state: &State, text: &str) -> String {
    let marked = state.lookup("__mark_generation").is_some_and(|mark| mark.is_true());
    if marked { format!("{OPEN}{text}{CLOSE}") } else { text.to_owned() }
}

/// Takes the marks out and says what they enclosed; `None` if they do not pair.
fn unmark(marked: &str) -> Option<(String, Vec<Range<usize>>)> {
    let mut text = String::with_capacity(marked.len());
    let mut spans = Vec::new();
    let mut parts = marked.split(OPEN);
    text.push_str(parts.next().filter(|before| !before.contains(CLOSE))?);
    for part in parts {
        let (inside, after) = part.split_once(CLOSE).filter(|(_, after)| !after.contains(CLOSE))?;
        spans.push(text.len()..text.len() + inside.len());
        text.push_str(inside);
        text.push_str(after);
    }
    Some((text, spans))
}

/// Jinja2 takes strings for iterable, and whatever has a length and items for a sequence.
fn is_iterable(value: &Value) -> bool {
    matches!(value.kind(), ValueKind::String | ValueKind::Seq | ValueKind::Map | ValueKind::Iterable)
}

fn raise_exception(message: &str) -> std::result::Result<Value, minijinja::Error> {
    Err(minijinja::Error::new(ErrorKind::InvalidOperation, message.to_owned()))
}

fn strftime_now(state: &State, format: &str) -> std::result::Result<String, minijinja::Error> {
    let fixed = state.lookup("__now").and_then(|now| now.as_str()?.parse::<DateTime>().ok());
    let now = fixed.unwrap_or_else(|| jiff::ZonedDateTime::now().datetime());
    jiff::fmt::strtime::format(format, now)
        .map_err(|error| minijinja::Error::new(ErrorKind::InvalidOperation, error.to_string()))
}

/// The line and the causes; minijinja's own text repeats the template's name.
#[expect(clippy::needless_pass_by_value, reason = "the signature of map_err")]
fn template_error(error: minijinja::Error) -> Error {
    let mut problem = error.detail().map_or_else(|| error.kind().to_string(), str::to_owned);
    let mut line = error.line();
    let mut cause = std::error::Error::source(&error);
    while let Some(inner) = cause {
        if let Some(inner) = inner.downcast_ref::<minijinja::Error>() {
            line = inner.line().or(line);
            problem = inner.detail().map_or_else(|| inner.kind().to_string(), str::to_owned);
        } else if let Some(inner) = inner.downcast_ref::<io::Error>() {
            problem = inner.to_string();
        }
        cause = inner.source();
    }
    Error::Template { line, problem }
}
