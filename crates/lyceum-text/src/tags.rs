//! Tags in what a model wrote: `<think>…</think>`, `<answer>…</answer>`, `<search>…</search>`.

use std::collections::HashMap;
use std::ops::Range;

/// The tag names that mean something; all else, such as `<b>` or `a < b`, is text.
///
/// A tag is exactly `<name>` or `</name>`: case counts, and there are no attributes and no spaces inside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagGrammar {
    names: Vec<String>,
}

/// A tag with its end. Ranges are bytes of the parsed text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagSpan {
    /// The tag's name.
    pub name: String,
    /// Between the tags.
    pub inner: Range<usize>,
    /// With the tags.
    pub outer: Range<usize>,
    /// How many spans enclose this one.
    pub depth: usize,
}

/// A tag without its partner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TagFault {
    /// `<name>` that is never closed, or that an enclosing tag's end cut off.
    Unclosed {
        /// The tag's name.
        name: String,
        /// The tag itself.
        at: Range<usize>,
    },
    /// `</name>` where no such tag is open.
    Unopened {
        /// The tag's name.
        name: String,
        /// The tag itself.
        at: Range<usize>,
    },
}

/// What the tags of a text are. Malformed text is no error: a model wrote it, and a reward may count its faults.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TagParse {
    /// Tags with their ends, in the order of their beginnings; any two are nested or apart.
    pub spans: Vec<TagSpan>,
    /// Tags without partners, in the order of the text.
    pub faults: Vec<TagFault>,
}

impl TagGrammar {
    /// A grammar of these names.
    #[must_use]
    pub fn new<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        Self { names: names.into_iter().map(str::to_owned).collect() }
    }

    /// Finds the tags of `text` in one pass.
    ///
    /// An end closes the nearest open tag of its name; tags opened since then and still open are unclosed, and what
    /// they enclose belongs to the tag that closed. At the end of the text whatever is open is unclosed.
    #[must_use]
    pub fn parse(&self, text: &str) -> TagParse {
        let mut spans: Vec<TagSpan> = Vec::new();
        let mut faults = Vec::new();
        let mut open: Vec<(&str, Range<usize>)> = Vec::new();
        let mut open_of: HashMap<&str, usize> = HashMap::new();
        for (name, at, closes) in self.tags(text) {
            let count = open_of.entry(name).or_default();
            if !closes {
                *count += 1;
                open.push((name, at));
            } else if *count == 0 {
                faults.push(TagFault::Unopened { name: name.to_owned(), at });
            } else {
                while let Some((opened, start)) = open.pop() {
                    open_of.entry(opened).and_modify(|count| *count -= 1);
                    if opened == name {
                        let (inner, outer) = (start.end..at.start, start.start..at.end);
                        spans.push(TagSpan { name: name.to_owned(), inner, outer, depth: 0 });
                        break;
                    }
                    faults.push(TagFault::Unclosed { name: opened.to_owned(), at: start });
                }
            }
        }
        faults.extend(open.into_iter().map(|(name, at)| TagFault::Unclosed { name: name.to_owned(), at }));
        faults.sort_by_key(|fault| fault.at().start);
        spans.sort_by_key(|span| span.outer.start);
        let mut ends: Vec<usize> = Vec::new();
        for span in &mut spans {
            while ends.pop_if(|end| *end <= span.outer.start).is_some() {}
            span.depth = ends.len();
            ends.push(span.outer.end);
        }
        TagParse { spans, faults }
    }

    /// Every tag in the order of the text: its name, where it stands, and whether it is an end.
    fn tags<'a>(&'a self, text: &'a str) -> impl Iterator<Item = (&'a str, Range<usize>, bool)> {
        text.match_indices('<').filter_map(move |(start, _)| {
            let rest = &text[start + 1..];
            let (body, closes) = rest.strip_prefix('/').map_or((rest, false), |body| (body, true));
            let name = self
                .names
                .iter()
                .find(|&name| body.strip_prefix(name.as_str()).is_some_and(|after| after.starts_with('>')))?;
            let end = text.len() - body.len() + name.len() + 1;
            Some((name.as_str(), start..end, closes))
        })
    }
}

impl TagFault {
    /// Where the tag stands.
    #[must_use]
    pub fn at(&self) -> &Range<usize> {
        let (Self::Unclosed { at, .. } | Self::Unopened { at, .. }) = self;
        at
    }
}

impl TagParse {
    /// The span of this name that begins first, at any depth.
    #[must_use]
    pub fn first(&self, name: &str) -> Option<&TagSpan> {
        self.named(name).next()
    }

    /// The span of this name that begins last, at any depth. A model that corrects itself means its last answer.
    #[must_use]
    pub fn last(&self, name: &str) -> Option<&TagSpan> {
        self.named(name).next_back()
    }

    /// The spans of this name, in the order of their beginnings.
    pub fn named(&self, name: &str) -> impl DoubleEndedIterator<Item = &TagSpan> {
        self.spans.iter().filter(move |span| span.name == name)
    }

    /// The spans that no other encloses, in the order of the text.
    pub fn top(&self) -> impl Iterator<Item = &TagSpan> {
        self.spans.iter().filter(|span| span.depth == 0)
    }

    /// The pieces of a text of `len` bytes before, between and after the spans of [`TagParse::top`], empty ones left
    /// out. Tags without partners are part of them.
    #[must_use]
    pub fn outside(&self, len: usize) -> Vec<Range<usize>> {
        let starts = [0].into_iter().chain(self.top().map(|span| span.outer.end));
        let ends = self.top().map(|span| span.outer.start).chain([len]);
        starts.zip(ends).map(|(start, end)| start..end).filter(|piece| !piece.is_empty()).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn grammar() -> TagGrammar {
        TagGrammar::new(["think", "answer", "search"])
    }

    /// `name[depth]:inner` of the spans, then `+name` unclosed and `-name` unopened.
    fn shown(text: &str) -> Vec<String> {
        let parse = grammar().parse(text);
        let spans = parse
            .spans
            .iter()
            .map(|span| format!("{}{}:{}", span.name, span.depth, &text[span.inner.clone()]));
        let faults = parse.faults.iter().map(|fault| match fault {
            TagFault::Unclosed { name, .. } => format!("+{name}"),
            TagFault::Unopened { name, .. } => format!("-{name}"),
        });
        spans.chain(faults).collect()
    }

    #[test]
    fn worked_examples() {
        assert_eq!(shown("<think>a</think><answer>b</answer>"), ["think0:a", "answer0:b"]);
        assert_eq!(shown("<think>a<search>q</search></think>"), ["think0:a<search>q</search>", "search1:q"]);
        assert_eq!(shown("a < b <b>c</b> <Think> <think > </ think>"), [""; 0]);
        assert_eq!(shown("<<think>>é</think>"), ["think0:>é"]);
        assert_eq!(shown("<think>a"), ["+think"]);
        assert_eq!(shown("a</think>"), ["-think"]);
        assert_eq!(shown("<think>a<answer>b</think></answer>"), ["think0:a<answer>b", "+answer", "-answer"]);
        assert_eq!(shown("<think><think>a</think></think>"), ["think0:<think>a</think>", "think1:a"]);
        assert_eq!(shown("<think><think>a</think>"), ["think0:a", "+think"]);
    }

    #[test]
    fn first_last_and_outside() {
        let text = "x<answer>1</answer>y<answer>2</answer>";
        let parse = grammar().parse(text);
        let inner = |span: Option<&TagSpan>| span.map(|span| &text[span.inner.clone()]);
        assert_eq!(inner(parse.first("answer")), Some("1"));
        assert_eq!(inner(parse.last("answer")), Some("2"));
        assert_eq!(inner(parse.first("think")), None);
        assert_eq!(parse.outside(text.len()), [0..1, 19..20]);
    }

    #[derive(Debug, Clone)]
    enum Node {
        Text(String),
        Tag(&'static str, Vec<Node>),
    }

    fn node() -> impl Strategy<Value = Node> {
        "[a-z<> /é]{0,6}".prop_map(Node::Text).prop_recursive(4, 24, 4, |inner| {
            (prop::sample::select(vec!["think", "answer", "search"]), prop::collection::vec(inner, 0..4))
                .prop_map(|(name, children)| Node::Tag(name, children))
        })
    }

    /// Writes the tree and the spans it should have.
    fn write(node: &Node, depth: usize, text: &mut String, spans: &mut Vec<TagSpan>) {
        match node {
            Node::Text(part) => text.push_str(part),
            Node::Tag(name, children) => {
                let (index, start) = (spans.len(), text.len());
                spans.push(TagSpan { name: (*name).to_owned(), inner: 0..0, outer: 0..0, depth });
                text.push_str(&format!("<{name}>"));
                let inner = text.len();
                children.iter().for_each(|child| write(child, depth + 1, text, spans));
                spans[index].inner = inner..text.len();
                text.push_str(&format!("</{name}>"));
                spans[index].outer = start..text.len();
            }
        }
    }

    fn soup() -> impl Strategy<Value = String> {
        let piece = prop::sample::select(vec![
            "<think>",
            "</think>",
            "<answer>",
            "</answer>",
            "<search>",
            "</search>",
            "<",
            ">",
            "/",
            "think",
            "é",
            " ",
        ]);
        prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn well_formed_trees_come_back(node in node()) {
            let (mut text, mut spans) = (String::new(), Vec::new());
            write(&node, 0, &mut text, &mut spans);
            prop_assert_eq!(grammar().parse(&text), TagParse { spans, faults: vec![] });
        }

        #[test]
        fn every_tag_is_in_one_span_or_fault(text in soup()) {
            let parse = grammar().parse(&text);
            let tags: usize = ["think", "answer", "search"]
                .iter()
                .map(|name| text.matches(&format!("<{name}>")).count() + text.matches(&format!("</{name}>")).count())
                .sum();
            prop_assert_eq!(2 * parse.spans.len() + parse.faults.len(), tags);
            for span in &parse.spans {
                prop_assert_eq!(&text[span.outer.start..span.inner.start], format!("<{}>", span.name));
                prop_assert_eq!(&text[span.inner.end..span.outer.end], format!("</{}>", span.name));
            }
        }

        #[test]
        fn spans_nest_and_depth_counts_the_enclosing(text in soup()) {
            let spans = grammar().parse(&text).spans;
            for (index, span) in spans.iter().enumerate() {
                let mut enclosing = 0;
                for (other_index, other) in spans.iter().enumerate() {
                    let apart = span.outer.end <= other.outer.start || other.outer.end <= span.outer.start;
                    let inside = other.inner.start <= span.outer.start && span.outer.end <= other.inner.end;
                    let around = span.inner.start <= other.outer.start && other.outer.end <= span.inner.end;
                    prop_assert!(index == other_index || apart || inside || around);
                    enclosing += usize::from(index != other_index && inside);
                }
                prop_assert_eq!(span.depth, enclosing);
            }
        }

        #[test]
        fn outside_and_top_tile_the_text(text in soup()) {
            let parse = grammar().parse(&text);
            let mut pieces = parse.outside(text.len());
            pieces.extend(parse.top().map(|span| span.outer.clone()));
            pieces.sort_by_key(|piece| piece.start);
            prop_assert_eq!(pieces.iter().map(|piece| &text[piece.clone()]).collect::<String>(), text);
        }
    }
}
