//! YAML text -> a plain tree, with everything refused that two readers could understand differently.
//!
//! The same file is read by us and, when a user leaves us, by Docker Compose. So there are no anchors, aliases,
//! tags, merge keys, directives or second documents, no key twice, and a plain scalar that some YAML version
//! takes for a number, a date or a boolean is not text (`NO`, `1.10`, `2024-01-01`): it has to be quoted.

use std::collections::BTreeSet;

use serde_saphyr::granit_parser::{self, Event, Parser, ScalarStyle};

use super::ComposeError;

/// A rendered stack of ten services is about 20 KiB.
const MAX_BYTES: usize = 1 << 20;
/// A rendered stack of ten services has about 900 nodes.
const MAX_NODES: usize = 20_000;
/// `services.db.networks.default.aliases[0]` is the deepest path, 6.
const MAX_DEPTH: usize = 12;

/// One node and the line it begins on.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub line: usize,
    pub kind: Kind,
}

#[derive(Debug, Clone)]
pub(super) enum Kind {
    /// Text, and whether it was written without quotes.
    Scalar {
        text: String,
        plain: bool,
    },
    Sequence(Vec<Node>),
    /// In the order of the file; no key twice.
    Mapping(Vec<(String, Node)>),
}

/// Reads one document.
pub(super) fn read(text: &str) -> Result<Node, ComposeError> {
    if text.len() > MAX_BYTES {
        return Err(refuse(0, format!("has {} bytes: at most {MAX_BYTES} are allowed", text.len())));
    }
    if let Some(at) = text.find(['\u{85}', '\u{2028}', '\u{2029}']) {
        let line = text[..at].matches('\n').count() + 1;
        return Err(refuse(
            line,
            "holds U+0085, U+2028 or U+2029, which break a line in YAML 1.1 only: write it as an escape".into(),
        ));
    }
    let options = granit_parser::options! {
        disallow_directives: true,
        block_nesting_limit: MAX_DEPTH,
        flow_nesting_limit: MAX_DEPTH,
        emit_unresolved_aliases: true,
        strict_indentation: true,
    };
    let mut reader = Reader { parser: Parser::new_from_str_with_options(text, options), line: 1, nodes: 0 };
    loop {
        match reader.next()? {
            Event::StreamStart => {}
            Event::DocumentStart(..) => break,
            _ => return Err(refuse(reader.line, "is empty".into())),
        }
    }
    let first = reader.next()?;
    let root = reader.node(first, 0)?;
    match (reader.next()?, reader.next()?) {
        (Event::DocumentEnd, Event::StreamEnd) => Ok(root),
        _ => Err(refuse(reader.line, "holds more than one document: render exactly one".into())),
    }
}

fn refuse(line: usize, message: String) -> ComposeError {
    ComposeError { path: String::new(), line, message }
}

struct Reader<'a> {
    parser: Parser<'a, granit_parser::StrInput<'a>>,
    line: usize,
    nodes: usize,
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> Result<Event<'a>, ComposeError> {
        match self.parser.next_event() {
            None => Ok(Event::StreamEnd),
            Some(Err(error)) => Err(refuse(error.marker().line(), format!("is not YAML: {}", error.info()))),
            Some(Ok((event, span))) => {
                self.line = span.start.line();
                Ok(event)
            }
        }
    }

    fn node(&mut self, event: Event<'a>, depth: usize) -> Result<Node, ComposeError> {
        let line = self.line;
        self.nodes += 1;
        if self.nodes > MAX_NODES || depth > MAX_DEPTH {
            return Err(refuse(line, format!("is too large: at most {MAX_NODES} nodes, {MAX_DEPTH} levels deep")));
        }
        let kind = match event {
            Event::Scalar(text, style, anchor, tag) => {
                no_decoration(line, anchor, tag.is_some())?;
                Kind::Scalar { text: text.into_owned(), plain: style == ScalarStyle::Plain }
            }
            Event::SequenceStart(_, anchor, tag) => {
                no_decoration(line, anchor, tag.is_some())?;
                Kind::Sequence(self.sequence(depth)?)
            }
            Event::MappingStart(_, anchor, tag) => {
                no_decoration(line, anchor, tag.is_some())?;
                Kind::Mapping(self.mapping(depth)?)
            }
            _ => return Err(refuse(line, "uses an alias (`*name`): write the value out".into())),
        };
        Ok(Node { line, kind })
    }

    fn sequence(&mut self, depth: usize) -> Result<Vec<Node>, ComposeError> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                Event::SequenceEnd => return Ok(items),
                event => items.push(self.node(event, depth + 1)?),
            }
        }
    }

    fn mapping(&mut self, depth: usize) -> Result<Vec<(String, Node)>, ComposeError> {
        let mut entries = Vec::new();
        let mut seen = BTreeSet::new();
        loop {
            let event = self.next()?;
            if matches!(event, Event::MappingEnd) {
                return Ok(entries);
            }
            let key = self.node(event, depth + 1)?;
            let name = match key.kind {
                Kind::Scalar { text, plain } if !plain || is_text(&text) => text,
                _ => return Err(refuse(key.line, "has a key that is not text: quote it".into())),
            };
            if !seen.insert(name.clone()) {
                return Err(refuse(key.line, format!("has the key `{name}` twice in one mapping")));
            }
            let event = self.next()?;
            entries.push((name, self.node(event, depth + 1)?));
        }
    }
}

fn no_decoration(line: usize, anchor: usize, tagged: bool) -> Result<(), ComposeError> {
    match (anchor, tagged) {
        (0, false) => Ok(()),
        (0, true) => Err(refuse(line, "uses a YAML tag (`!name`): leave it out".into())),
        _ => Err(refuse(line, "uses an anchor (`&name`): write the value out".into())),
    }
}

/// Whether a plain scalar is text in YAML 1.1 and in YAML 1.2 alike.
pub(super) fn is_text(text: &str) -> bool {
    const WORDS: [&str; 13] = ["", "~", "<<", "=", "null", "true", "false", "yes", "no", "on", "off", "y", "n"];
    if WORDS.iter().any(|word| text.eq_ignore_ascii_case(word)) {
        return false;
    }
    let unsigned = text.trim_start_matches(['+', '-']);
    let lower = unsigned.to_ascii_lowercase();
    if matches!(lower.as_str(), ".inf" | ".nan") {
        return false;
    }
    if !unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return true;
    }
    let digits = lower.replace('_', "");
    let radix = ["0x", "0o", "0b"]
        .iter()
        .any(|prefix| digits.strip_prefix(prefix).is_some_and(|rest| rest.chars().all(|c| c.is_ascii_hexdigit())));
    let sexagesimal = digits.contains(':') && digits.chars().all(|c| c.is_ascii_digit() || matches!(c, ':' | '.'));
    let date = unsigned.len() >= 8 && unsigned.as_bytes()[..4].iter().all(u8::is_ascii_digit) && {
        let rest = &unsigned[4..];
        rest.starts_with('-') && rest.chars().all(|c| c.is_ascii_digit() || "-:.tTzZ +".contains(c))
    };
    !(radix || date || digits.parse::<f64>().is_ok() || (sexagesimal && !digits.contains('.')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_yaml_may_take_for_something_else_is_not_text() {
        for other in [
            "",
            "~",
            "null",
            "NULL",
            "true",
            "True",
            "yes",
            "NO",
            "on",
            "Off",
            "y",
            "12",
            "-3",
            "+1",
            "1.10",
            "1e3",
            ".5",
            "0x1F",
            "0o17",
            "0b1",
            "1_000",
            ".inf",
            "-.Inf",
            ".NaN",
            "2024-01-31",
            "2024-01-31 10:00:00",
            "1:30",
            "<<",
        ] {
            assert!(!is_text(other), "{other} must be quoted");
        }
        for text in ["db", "127.0.0.1:54000:8000", "5s", "1m30s", "10.201.0.30", "./x:/y:ro", "kong:2.8.1", "-c", "10.201.0.0/27"]
        {
            assert!(is_text(text), "{text} is text");
        }
    }

    #[test]
    fn whatever_needs_a_second_look_is_refused() {
        let cases = [
            ("a: &x 1\nb: *x\n", "anchor"),
            ("a: *x\n", "alias"),
            ("a: 1\na: 2\n", "twice"),
            ("a: !!str 1\n", "tag"),
            ("a: 1\n---\nb: 2\n", "more than one document"),
            ("%YAML 1.1\n---\na: 1\n", "not YAML"),
            ("a: {<<: {b: 1}}\n", "not text"),
            ("", "empty"),
            ("a: [1", "not YAML"),
            ("? [a]\n: 1\n", "not text"),
        ];
        for (text, word) in cases {
            let error = read(text).expect_err(text).to_string();
            assert!(error.contains(word), "{text:?} answered {error:?}");
        }
        let deep = format!("a: {}{}", "[".repeat(40), "]".repeat(40));
        assert!(read(&deep).is_err());
        assert!(read(&format!("a: {}", "x".repeat(MAX_BYTES))).is_err());
        assert!(read(&format!("a: [{}]", "1,".repeat(MAX_NODES))).is_err());
    }
}
