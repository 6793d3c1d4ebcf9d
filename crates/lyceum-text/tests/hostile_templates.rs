//! A template is foreign code: whatever it says, it ends soon, as text or as an error that names the line.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::needless_pass_by_value,
    reason = "a test fails by panicking"
)]

use std::time::{Duration, Instant};

use lyceum_text::{ChatTemplate, Error, Message, RenderOptions};
use proptest::prelude::*;

fn render(source: &str) -> Result<String, Error> {
    let messages = [Message::new("user", "hi")];
    ChatTemplate::new(source, [])?.render(&messages, &RenderOptions::default())
}

/// As many of `piece` as a source may hold, between `before` and `after`.
fn filled(before: &str, piece: &str, after: &str) -> String {
    let room = (64 << 10) - before.len() - after.len();
    before.to_owned() + &piece.repeat(room / piece.len()) + after
}

#[test]
fn endless_work_is_cut_off() {
    for (source, problem) in [
        ("{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}", "fuel"),
        ("{% macro f(x) %}{{ f(x) }}{% endmacro %}{{ f(1) }}", "recursion"),
        ("{% block a %}{{ self.a() }}{% endblock %}", "recursion"),
        ("{% include 'chat_template' %}", "recursion"),
        ("{{ 'a' * 1000000000000 }}", "too large"),
        ("{{ 'a\nb'|indent(10000000000) }}", "indent"),
        ("{{ [1]|tojson(indent=10000000000) }}", "indent"),
        ("{{ ([1] * 1000000000) | tojson }}", "longer"),
    ] {
        let started = Instant::now();
        match render(source) {
            Err(Error::Template { problem: found, .. }) => {
                assert!(found.contains(problem), "{source}: {found}");
            }
            other => panic!("{source}: {other:.200?}"),
        }
        assert!(started.elapsed() < Duration::from_secs(10), "{source}");
    }
}

#[test]
fn what_is_printed_is_bounded() {
    let long = "x".repeat(60_000);
    for source in [
        format!("{{% for i in range(99999) %}}{long}{{% endfor %}}"),
        format!("{{% set s = '{long}' %}}{{% for i in range(99999) %}}{{{{ s }}}}{{% endfor %}}"),
        format!(
            "{{% set s = '{long}' %}}{{% set t %}}{{% for i in range(99999) %}}{{{{ s }}}}{{% endfor %}}{{% endset %}}"
        ),
    ] {
        match render(&source) {
            Err(Error::Template { problem, .. }) => {
                assert!(problem.contains("prints more than 64 MiB"), "{problem}");
            }
            other => panic!("{other:.200?}"),
        }
    }
}

#[test]
fn deep_sources_and_values_do_not_overflow_the_stack() {
    for source in [
        filled("{{ ", "(", " }}"),
        filled("{{ ", "-", "1 }}"),
        filled("{{ ", "not ", "1 }}"),
        filled("{{ ", "1+", "1 }}"),
        filled("{{ ", "1**", "1 }}"),
        filled("{{ ", "1 if ", "1 }}"),
        filled("{{ ", "[", "1 }}"),
        filled("{{ a", ".b", " }}"),
        filled("{{ a", "|e", " }}"),
        filled("{{ 1", " is eq 1", " }}"),
        filled("{{ 1", "~1", " }}"),
        filled("{% if 0 %}", "{% elif 0 %}", "{% endif %}"),
        filled("", "{% if 1 %}", ""),
        filled("", "{% macro a() %}", ""),
        "{% set n = namespace(x=[]) %}{% for j in range(99) %}{% for i in range(99999) %}{% set n.x = [n.x] %}\
         {% endfor %}{% endfor %}"
            .to_owned(),
        "{% set n = namespace(x=[]) %}{% for i in range(9999) %}{% set n.x = [n.x] %}{% endfor %}{{ n.x }}".to_owned(),
        "{% set n = namespace(x=[]) %}{% for i in range(9999) %}{% set n.x = [n.x] %}{% endfor %}{{ n.x|tojson }}"
            .to_owned(),
        "{% set n = namespace() %}{% set n.x = n %}{{ n }}{{ n|string }}".to_owned(),
        "{% set n = namespace() %}{% set n.x = n %}{{ n|tojson }}".to_owned(),
    ] {
        let started = Instant::now();
        _ = render(&source);
        assert!(started.elapsed() < Duration::from_secs(20), "{source:.80}");
    }
}

#[test]
fn errors_name_the_line() {
    for (source, expected) in [
        ("a\nb\n{{ raise_exception('no tools, please') }}", "chat template, line 3: no tools, please"),
        ("a\n{% if %}", "chat template, line 2: unexpected"),
        (
            "{% macro f() %}\n{{ missing.x }}{% endmacro %}\n\n{{ f() }}",
            "chat template, line 2: undefined value",
        ),
    ] {
        let error = render(source).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error}");
    }
    let error = render(&" ".repeat(70_000)).unwrap_err().to_string();
    assert_eq!(error, "chat template: 70000 bytes long, and at most 65536 are accepted");
}

/// Scraps of templates.
fn scrap() -> impl Strategy<Value = String> {
    let scraps = vec![
        "{{ ",
        " }}",
        "{% ",
        " %}",
        "{%- ",
        " -%}",
        "{# ",
        " #}",
        "if ",
        "else",
        "endif",
        "for m in messages",
        "endfor",
        "set x = ",
        "generation",
        "endgeneration",
        "{% generation %}",
        "{% endgeneration %}",
        "{% raw %}",
        "messages",
        "[::-1]",
        "[0]",
        ".role",
        ".content",
        "['content']",
        " + ",
        " ~ ",
        " in ",
        "not ",
        "'a'",
        "\"",
        "1",
        "-",
        "é",
        "|tojson",
        "(indent=2)",
        "|length",
        "|items",
        ".split('i')",
        "loop.index0",
        "namespace(a=1)",
        "\n",
        "(",
        ")",
        " is defined",
        " is string",
        "raise_exception('x')",
        "strftime_now('%Y')",
        "strftime_now('%Q%')",
        "macro f()",
    ];
    prop::collection::vec(prop::sample::select(scraps), 0..24).prop_map(|scraps| scraps.concat())
}

proptest! {
    #[test]
    fn no_template_panics(source in scrap()) {
        if let Err(Error::Template { problem, .. }) = render(&source) {
            prop_assert!(!problem.contains("panicked"), "{}", source);
        }
        if let Ok(template) = ChatTemplate::new(&source, []) {
            _ = template.render_marked(&[Message::new("assistant", "hi")], &RenderOptions::default());
        }
    }
}
