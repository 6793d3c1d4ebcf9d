//! One spelling for what is written in many ways: Unicode look-alikes, LaTeX spacing, delimiters around the whole.

/// First digit zero of the scripts whose digits are read.
const DIGIT_ZEROS: [char; 9] = ['٠', '۰', '०', '০', '౦', '๐', '೦', '௦', '０'];

const SUPERSCRIPTS: &str = "⁰¹²³⁴⁵⁶⁷⁸⁹";

/// LaTeX's protected comma, signs typed as two characters, and the ways to write a degree.
const SPELLINGS: [(&str, &str); 11] = [
    ("\\text{,}", ","),
    ("{,}", ","),
    ("<=", "≤"),
    (">=", "≥"),
    ("==", "="),
    ("~", " "),
    ("^\\circ", "°"),
    ("^{\\circ}", "°"),
    ("^ \\circ", "°"),
    ("^{ \\circ }", "°"),
    ("^\\degree", "°"),
];

/// Rewrites look-alikes to one spelling. The result is never longer than a small multiple of the input.
pub(super) fn fold(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut raised = false;
    for c in text.chars() {
        let superscript = SUPERSCRIPTS.chars().position(|s| s == c).map(|d| char::from(b'0' + d as u8));
        let superscript = superscript.or(match c {
            '⁻' => Some('-'),
            '⁺' => Some('+'),
            'ⁿ' => Some('n'),
            _ => None,
        });
        match (superscript, raised) {
            (Some(_), false) => plain.push_str("^{"),
            (None, true) => plain.push('}'),
            _ => {}
        }
        raised = superscript.is_some();
        push_folded(&mut plain, superscript.unwrap_or(c));
    }
    if raised {
        plain.push('}');
    }
    let mut plain = with_plain_blanks(&plain);
    for (from, to) in SPELLINGS {
        if plain.contains(from) {
            plain = plain.replace(from, to);
        }
    }
    plain
}

/// With LaTeX's commands for blanks as blanks. A negative one swallows those after it: `11,\! 111` is one number.
fn with_plain_blanks(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match (c, chars.peek()) {
            ('\\', Some(',' | ';' | ':' | '>' | ' ')) => {
                chars.next();
                plain.push(' ');
            }
            ('\\', Some('!')) => {
                chars.next();
                while chars.next_if(|c| c.is_whitespace()).is_some() {}
            }
            // A row's end or an escaped brace: the second character is no command's beginning.
            ('\\', Some(&next)) => {
                chars.next();
                plain.extend([c, next]);
            }
            _ => plain.push(c),
        }
    }
    plain
}

fn push_folded(plain: &mut String, c: char) {
    if let Some(zero) = DIGIT_ZEROS.into_iter().find(|&zero| (zero..=up(zero, 9)).contains(&c)) {
        plain.push(char::from(b'0' + (u32::from(c) - u32::from(zero)) as u8));
        return;
    }
    match c {
        '−' | '–' | '‐' | '‑' | '‒' | '﹣' => plain.push('-'),
        '×' | '✕' | '⋅' | '·' | '∙' | '∗' => plain.push('*'),
        '÷' | '∕' | '⁄' => plain.push('/'),
        '\u{a0}' | '\u{2000}'..='\u{200a}' | '\u{202f}' | '\u{205f}' | '\u{3000}' => plain.push(' '),
        '\u{200b}'..='\u{200d}' | '\u{2060}' | '\u{feff}' | '\u{ad}' => {}
        '′' | '’' | '‘' => plain.push('\''),
        '“' | '”' => plain.push('"'),
        'º' | '˚' | '∘' => plain.push('°'),
        '∅' => plain.push_str("\\emptyset "),
        '。' => plain.push('.'),
        '、' => plain.push(','),
        '⩽' => plain.push('≤'),
        '⩾' => plain.push('≥'),
        '〈' => plain.push('⟨'),
        '〉' => plain.push('⟩'),
        'ℝ' => plain.push_str("\\mathbb{R}"),
        // Full-width forms of ASCII.
        '！'..='～' => plain.push(char::from_u32(u32::from(c) - 0xfee0).unwrap_or(c)),
        _ => plain.push(c),
    }
}

fn up(c: char, by: u32) -> char {
    char::from_u32(u32::from(c) + by).unwrap_or(c)
}

/// The text without what encloses the whole answer: blanks, maths delimiters, a box, bold marks, quotes, a full stop.
pub(super) fn unwrap(text: &str) -> &str {
    let mut text = text;
    loop {
        let before = text;
        text = text.trim();
        for (open, close) in [
            ("$$", "$$"),
            ("$", "$"),
            ("\\(", "\\)"),
            ("\\[", "\\]"),
            ("**", "**"),
            ("`", "`"),
            ("\"", "\""),
            ("\\boxed{", "}"),
            ("\\fbox{", "}"),
            ("\\mathbf{", "}"),
            ("\\boldsymbol{", "}"),
            ("\\ensuremath{", "}"),
            ("\\text{", "}"),
            ("\\textbf{", "}"),
            ("\\mathrm{", "}"),
            ("\\mbox{", "}"),
            ("\\displaystyle", ""),
        ] {
            let inner = text.strip_prefix(open).and_then(|rest| rest.strip_suffix(close));
            if let Some(inner) = inner.filter(|inner| encloses(open, inner)) {
                text = inner;
            }
        }
        // Sentence marks at the end, but not an ellipsis and not an escaped blank.
        if !text.ends_with("..") && !text.ends_with('\\') {
            text = text.strip_suffix(['.', ',', ';']).unwrap_or(text);
        }
        text = text.strip_suffix("\\\\").unwrap_or(text);
        for lead in ["=", "≈", "\\approx", "\\therefore", "\\Rightarrow", "\\implies"] {
            text = text.strip_prefix(lead).unwrap_or(text);
        }
        if text == before {
            return text;
        }
    }
}

/// Whether the delimiters around `inner` belong together: `{a}+{b}` is not one group, `$a$ or $b$` not one formula.
fn encloses(open: &str, inner: &str) -> bool {
    if !open.ends_with('{') {
        return open.is_empty() || !inner.contains(open);
    }
    let mut depth = 0usize;
    let mut escaped = false;
    for c in inner.chars() {
        match c {
            _ if escaped => {
                escaped = false;
                continue;
            }
            '{' => depth += 1,
            '}' => match depth.checked_sub(1) {
                Some(less) => depth = less,
                None => return false,
            },
            _ => {}
        }
        escaped = c == '\\';
    }
    depth == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn look_alikes_fold() {
        assert_eq!(fold("−5×３²⁺ⁿ"), "-5*3^{2+n}");
        assert_eq!(fold("১২৩ ٤٥"), "123 45");
        assert_eq!(fold("11,\\! 111{,}100\\,cm"), "11,111,100 cm");
        assert_eq!(fold("2\\;\\pi, 90^{\\circ}"), "2 \\pi, 90°");
    }

    #[test]
    fn wrappers_come_off_only_when_they_enclose_the_whole() {
        assert_eq!(unwrap(" $\\boxed{ 5 }$. "), "5");
        assert_eq!(unwrap("**\\(x\\)**"), "x");
        assert_eq!(unwrap("$a$ or $b$"), "$a$ or $b$");
        assert_eq!(unwrap("\\boxed{1}, \\boxed{2}"), "\\boxed{1}, \\boxed{2}");
        assert_eq!(unwrap("1, 2, ..."), "1, 2, ...");
        assert_eq!(unwrap("\\boxed{\\{1\\}}"), "\\{1\\}");
    }

    proptest! {
        #[test]
        fn any_text_folds_and_unwraps(text in ".{0,80}") {
            let folded = fold(&text);
            prop_assert!(folded.contains(unwrap(&folded)));
        }
    }
}
