//! Walking the tree with a path in hand, so that every error says where.

use std::collections::BTreeMap;

use super::ComposeError;
use super::yaml::{Kind, Node, is_text};

/// Longest single value; the longest real one is a connection URI.
const MAX_VALUE_BYTES: usize = 32 * 1024;
/// Most items of one list or map.
const MAX_ITEMS: usize = 256;

/// A node and its path in the file.
#[derive(Debug, Clone)]
pub(super) struct At {
    pub path: String,
    node: Node,
}

/// What a text may hold.
#[derive(Clone, Copy, PartialEq)]
enum Dollars {
    /// `$$` becomes `$`, any other `$` is refused.
    Final,
    /// Left as they are: the caller knows what to do with `${NAME}`.
    Kept,
}

impl At {
    pub fn root(node: Node) -> Self {
        Self { path: String::new(), node }
    }

    pub fn error(&self, message: impl Into<String>) -> ComposeError {
        ComposeError { path: self.path.clone(), line: self.node.line, message: message.into() }
    }

    fn child(&self, key: &str, node: Node) -> Self {
        let path = if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) };
        Self { path, node }
    }

    /// Whether nothing is written after the colon.
    pub fn is_nothing(&self) -> bool {
        matches!(&self.node.kind, Kind::Scalar { text, plain: true } if matches!(text.as_str(), "" | "~" | "null"))
    }

    /// A mapping with keys of the file's own choice.
    pub fn entries(self) -> Result<Vec<(String, At)>, ComposeError> {
        let Kind::Mapping(entries) = &self.node.kind else {
            return Err(self.error("must be a mapping (`key: value`)"));
        };
        if entries.len() > MAX_ITEMS {
            return Err(self.error(format!("has {} entries: at most {MAX_ITEMS} are allowed", entries.len())));
        }
        for (key, _) in entries {
            if key.is_empty() || key.len() > 256 || key.contains(|c: char| c.is_control() || c == '$') {
                return Err(self.error(format!("has the key {key:?}: use 1 to 256 characters, no `$`, no control character")));
            }
        }
        Ok(entries.iter().map(|(key, node)| (key.clone(), self.child(key, node.clone()))).collect())
    }

    /// A mapping with known keys.
    pub fn fields(self) -> Result<Fields, ComposeError> {
        let path = self.path.clone();
        let line = self.node.line;
        Ok(Fields { path, line, entries: self.entries()?.into_iter().collect() })
    }

    /// A list.
    pub fn items(self) -> Result<Vec<At>, ComposeError> {
        let Kind::Sequence(items) = &self.node.kind else {
            return Err(self.error("must be a list"));
        };
        if items.len() > MAX_ITEMS {
            return Err(self.error(format!("has {} items: at most {MAX_ITEMS} are allowed", items.len())));
        }
        let at = |(index, node): (usize, &Node)| At { path: format!("{}[{index}]", self.path), node: node.clone() };
        Ok(items.iter().enumerate().map(at).collect())
    }

    /// Text in its final form: without a reference, `$$` read as `$`.
    pub fn text(&self) -> Result<String, ComposeError> {
        self.scalar(Dollars::Final, false)
    }

    /// Text whose dollars stay as written; a whole number may stand without quotes.
    pub fn environment_value(&self) -> Result<String, ComposeError> {
        self.scalar(Dollars::Kept, true)
    }

    fn scalar(&self, dollars: Dollars, or_number: bool) -> Result<String, ComposeError> {
        let Kind::Scalar { text, plain } = &self.node.kind else {
            return Err(self.error("must be text"));
        };
        if *plain && !is_text(text) && !(or_number && is_whole_number(text)) {
            return Err(self.error(format!("is {text:?}, which YAML does not take for text: quote it")));
        }
        if text.len() > MAX_VALUE_BYTES {
            return Err(self.error(format!("has {} bytes: at most {MAX_VALUE_BYTES} are allowed", text.len())));
        }
        if text.contains(|c: char| c.is_control() && !matches!(c, '\n' | '\t')) {
            return Err(self.error("holds a control character: leave it out"));
        }
        match dollars {
            Dollars::Kept => Ok(text.clone()),
            Dollars::Final => unescape(text)
                .ok_or_else(|| self.error("holds a `$`: references are for `environment` only, write `$$` for a dollar sign")),
        }
    }

    pub fn texts(self) -> Result<Vec<String>, ComposeError> {
        self.items()?.iter().map(At::text).collect()
    }

    pub fn text_map(self) -> Result<BTreeMap<String, String>, ComposeError> {
        self.entries()?.into_iter().map(|(key, at)| Ok((key, at.text()?))).collect()
    }

    /// A whole number, written without quotes.
    pub fn number(&self) -> Result<i64, ComposeError> {
        match &self.node.kind {
            Kind::Scalar { text, plain: true } if is_whole_number(text) => {
                text.parse().map_err(|_| self.error(format!("is {text}, which is too large")))
            }
            _ => Err(self.error("must be a whole number without quotes")),
        }
    }

    pub fn boolean(&self) -> Result<bool, ComposeError> {
        match &self.node.kind {
            Kind::Scalar { text, plain: true } if text == "true" => Ok(true),
            Kind::Scalar { text, plain: true } if text == "false" => Ok(false),
            _ => Err(self.error("must be true or false")),
        }
    }

    /// Text that can be only this.
    pub fn exactly(&self, wanted: &str) -> Result<(), ComposeError> {
        match self.text()? {
            found if found == wanted => Ok(()),
            found => Err(self.error(format!("is {found:?}: only `{wanted}` is allowed"))),
        }
    }

    /// `5s`, `1m30s`, `500ms`, in milliseconds.
    pub fn duration_ms(&self) -> Result<u64, ComposeError> {
        let text = self.scalar(Dollars::Final, true)?;
        duration_ms(&text)
            .ok_or_else(|| self.error(format!("is {text:?}: write a duration such as 500ms, 5s or 1m30s, at most 24h")))
    }
}

/// A mapping of which every key must be asked for.
pub(super) struct Fields {
    pub path: String,
    line: usize,
    entries: BTreeMap<String, At>,
}

impl Fields {
    /// A key that may be absent.
    pub fn maybe(&mut self, key: &str) -> Option<At> {
        self.entries.remove(key)
    }

    /// A key that must be there.
    pub fn need(&mut self, key: &str) -> Result<At, ComposeError> {
        self.entries.remove(key).ok_or_else(|| ComposeError {
            path: self.path.clone(),
            line: self.line,
            message: format!("lacks `{key}`"),
        })
    }

    /// Refuses what nobody asked for.
    pub fn finish(self) -> Result<(), ComposeError> {
        match self.entries.into_values().next() {
            None => Ok(()),
            Some(at) => Err(at.error("is not a key that a stack may use: leave it out")),
        }
    }
}

fn is_whole_number(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let leading_zero = digits.len() > 1 && digits.starts_with('0');
    !digits.is_empty() && digits.len() <= 18 && !leading_zero && digits.bytes().all(|b| b.is_ascii_digit())
}

fn unescape(text: &str) -> Option<String> {
    let mut parts = text.split("$$");
    let mut out = parts.next()?.to_owned();
    for part in parts {
        out.push('$');
        out.push_str(part);
    }
    // What is left of the pairs: as many dollars as pairs, or one of them stood alone.
    (out.matches('$').count() == text.matches("$$").count()).then_some(out)
}

fn duration_ms(text: &str) -> Option<u64> {
    const DAY_MS: u64 = 24 * 3_600_000;
    let mut rest = text;
    let mut total: u64 = 0;
    let mut last_unit = u64::MAX;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let value: u64 = rest[..digits].parse().ok()?;
        let unit_end = rest[digits..].find(|c: char| c.is_ascii_digit()).map_or(rest.len(), |at| digits + at);
        let unit = match &rest[digits..unit_end] {
            "h" => 3_600_000,
            "m" => 60_000,
            "s" => 1_000,
            "ms" => 1,
            _ => return None,
        };
        if unit >= last_unit {
            return None;
        }
        last_unit = unit;
        total = total.checked_add(value.checked_mul(unit)?)?;
        rest = &rest[unit_end..];
    }
    (last_unit != u64::MAX && total <= DAY_MS).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_compose_reads_them() {
        let cases =
            [("5s", Some(5_000)), ("1m30s", Some(90_000)), ("500ms", Some(500)), ("1h", Some(3_600_000)), ("0s", Some(0))];
        for (text, want) in cases {
            assert_eq!(duration_ms(text), want, "{text}");
        }
        for bad in ["", "5", "s", "5 s", "-5s", "1s1m", "5d", "99999999999999999999s", "25h"] {
            assert_eq!(duration_ms(bad), None, "{bad}");
        }
    }

    #[test]
    fn two_dollars_are_one_and_one_is_refused() {
        assert_eq!(unescape("a$$b").as_deref(), Some("a$b"));
        assert_eq!(unescape("$$$$").as_deref(), Some("$$"));
        assert_eq!(unescape("plain").as_deref(), Some("plain"));
        for bad in ["$a", "a$", "${X}", "$$$", "a$b$$"] {
            assert_eq!(unescape(bad), None, "{bad}");
        }
    }
}
