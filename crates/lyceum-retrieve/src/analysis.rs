//! From a text to its index terms: words in lower case without stop words, stemmed, as a language has it.

use tantivy::tokenizer::{
    Language as Tantivy, LowerCaser, RemoveLongFilter, Stemmer, StopWordFilter, TextAnalyzer, Token,
    TokenStream, Tokenizer,
};

/// A language whose words are stemmed; [`Language::NONE`] leaves words as they are and suits all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Language(Option<Tantivy>);

/// Their names.
const LANGUAGES: [(&str, Tantivy); 18] = [
    ("arabic", Tantivy::Arabic),
    ("danish", Tantivy::Danish),
    ("dutch", Tantivy::Dutch),
    ("english", Tantivy::English),
    ("finnish", Tantivy::Finnish),
    ("french", Tantivy::French),
    ("german", Tantivy::German),
    ("greek", Tantivy::Greek),
    ("hungarian", Tantivy::Hungarian),
    ("italian", Tantivy::Italian),
    ("norwegian", Tantivy::Norwegian),
    ("portuguese", Tantivy::Portuguese),
    ("romanian", Tantivy::Romanian),
    ("russian", Tantivy::Russian),
    ("spanish", Tantivy::Spanish),
    ("swedish", Tantivy::Swedish),
    ("tamil", Tantivy::Tamil),
    ("turkish", Tantivy::Turkish),
];

impl Language {
    /// No language: no stemming, no stop words.
    pub const NONE: Self = Self(None);

    /// By name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        if name == "none" {
            return Some(Self::NONE);
        }
        LANGUAGES.iter().find(|(known, _)| *known == name).map(|(_, language)| Self(Some(*language)))
    }

    /// All names.
    #[must_use]
    pub fn names() -> Vec<&'static str> {
        std::iter::once("none").chain(LANGUAGES.iter().map(|(name, _)| *name)).collect()
    }

    /// What makes terms of a text.
    #[must_use]
    pub fn analyzer(self) -> TextAnalyzer {
        let words =
            TextAnalyzer::builder(Words::default()).filter(RemoveLongFilter::limit(100)).filter(LowerCaser);
        let Some(language) = self.0 else { return words.build() };
        match StopWordFilter::new(language) {
            Some(stop) => words.filter(stop).filter(Stemmer::new(language)).build(),
            None => words.filter(Stemmer::new(language)).build(),
        }
    }
}

/// The terms of a text, in their order.
///
/// ```
/// use lyceum_retrieve::analysis::{Language, terms};
/// let english = Language::named("english").unwrap();
/// assert_eq!(terms(&mut english.analyzer(), "The cats' 3 winning moves!"), ["cat", "3", "win", "move"]);
/// assert_eq!(terms(&mut Language::NONE.analyzer(), "東京都 Tokyo"), ["東京", "京都", "tokyo"]);
/// ```
#[must_use]
pub fn terms(analyzer: &mut TextAnalyzer, text: &str) -> Vec<String> {
    let mut terms = Vec::new();
    analyzer.token_stream(text).process(&mut |token| terms.push(token.text.clone()));
    terms
}

/// Cuts a text into words; runs of scripts that write no spaces (Han, kana, Thai) into overlapping pairs of characters.
#[derive(Clone, Default)]
struct Words {
    tokens: Vec<Token>,
}

impl Tokenizer for Words {
    type TokenStream<'a> = Stream<'a>;

    fn token_stream<'a>(&'a mut self, text: &'a str) -> Stream<'a> {
        self.tokens.clear();
        let mut push = |from: usize, to: usize| {
            let position = self.tokens.len();
            self.tokens.push(Token {
                offset_from: from,
                offset_to: to,
                position,
                text: text[from..to].to_owned(),
                position_length: 1,
            });
        };
        let mut letters = text.char_indices().peekable();
        while let Some((start, first)) = letters.next() {
            let script = Script::of(first);
            if script == Script::None {
                continue;
            }
            let mut ends = vec![start + first.len_utf8()];
            while let Some((at, next)) = letters.next_if(|&(_, next)| Script::of(next) == script) {
                ends.push(at + next.len_utf8());
            }
            match (script, ends.as_slice()) {
                (Script::Unspaced, [_, .., _]) => {
                    let starts = std::iter::once(start).chain(ends.iter().copied());
                    starts.zip(&ends[1..]).for_each(|(from, &to)| push(from, to));
                }
                (_, [.., end]) => push(start, *end),
                _ => {}
            }
        }
        Stream { tokens: &mut self.tokens, at: 0 }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Script {
    None,
    Spaced,
    Unspaced,
}

impl Script {
    fn of(c: char) -> Self {
        match c {
            '\u{0E00}'..='\u{0EFF}'
            | '\u{3040}'..='\u{30FF}'
            | '\u{3400}'..='\u{9FFF}'
            | '\u{F900}'..='\u{FAFF}'
            | '\u{20000}'..='\u{3FFFF}' => Self::Unspaced,
            // Marks inside the words of Arabic and Indic scripts.
            '\u{0300}'..='\u{036F}' | '\u{064B}'..='\u{065F}' | '\u{0900}'..='\u{0DFF}'
                if c != '।' && c != '॥' =>
            {
                Self::Spaced
            }
            c if c.is_alphanumeric() => Self::Spaced,
            _ => Self::None,
        }
    }
}

struct Stream<'a> {
    tokens: &'a mut Vec<Token>,
    /// One past the current token.
    at: usize,
}

impl TokenStream for Stream<'_> {
    fn advance(&mut self) -> bool {
        self.at += 1;
        self.at <= self.tokens.len()
    }

    fn token(&self) -> &Token {
        &self.tokens[self.at - 1]
    }

    fn token_mut(&mut self) -> &mut Token {
        &mut self.tokens[self.at - 1]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn scripts_are_cut_as_they_are_written() {
        let cut = |text| terms(&mut Language::NONE.analyzer(), text);
        assert_eq!(cut("हिन्दी भाषा।"), ["हिन्दी", "भाषा"]);
        assert_eq!(cut("ab-c3"), ["ab", "c3"]);
        assert_eq!(cut("中 文字"), ["中", "文字"]);
        assert!(Language::named("klingon").is_none());
    }

    proptest! {
        #[test]
        fn any_text_is_borne(text in any::<String>()) {
            _ = terms(&mut Language::named("english").unwrap().analyzer(), &text);
        }
    }
}
