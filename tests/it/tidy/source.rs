//! A Rust file taken apart: code, literals, and the paths it uses. Not a parser: a lexer that knows where comments,
//! literals and test modules begin and end is all that the rules need.

/// One Rust file, taken apart.
pub struct Source {
    /// From the repository's root.
    pub path: String,
    pub text: String,
    /// The text with comments, literals and test modules blanked out; line breaks stay.
    pub code: String,
    /// Line and content of the string literals outside test modules.
    pub literals: Vec<(usize, String)>,
}

/// Every `crate::` path of a file, and every `super::` path that climbs to the root, with its line.
pub fn used_paths(source: &Source, inside: &str) -> Vec<(usize, String)> {
    let depth = inside.split('/').filter(|part| *part != "mod.rs").count();
    let mut used = Vec::new();
    for (at, word) in words(&source.code) {
        let rest = &source.code[at..];
        let climb = word == "super" && !source.code[..at].ends_with("super::");
        let tree = match word {
            "crate" => rest.strip_prefix("crate::"),
            "super" if climb => {
                let supers = rest.split("::").take_while(|part| *part == "super").count();
                (supers == depth).then(|| &rest[supers * "super::".len()..])
            }
            _ => None,
        };
        let line = line_of(&source.code, at);
        used.extend(tree.map(leaves).unwrap_or_default().into_iter().map(|path| (line, path)));
    }
    used
}

/// `a::{b, c::d}` is `a::b` and `a::c::d`.
fn leaves(tree: &str) -> Vec<String> {
    let mut paths = Vec::new();
    let mut open: Vec<String> = Vec::new();
    let mut path = String::new();
    for c in tree.chars() {
        match c {
            '{' if path.is_empty() || path.ends_with("::") => {
                open.push(path.clone());
            }
            ',' | '}' if !open.is_empty() => {
                if !path.ends_with("::") && !path.is_empty() {
                    paths.push(path.clone());
                }
                path = if c == '}' { open.pop().unwrap_or_default() } else { open.last().cloned().unwrap_or_default() };
                if open.is_empty() {
                    return paths;
                }
            }
            c if is_word(c) || c == ':' => path.push(c),
            c if c.is_whitespace() && !open.is_empty() => {}
            _ => break,
        }
    }
    paths.push(path.trim_end_matches(':').to_owned());
    paths
}

pub fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

pub fn words(code: &str) -> impl Iterator<Item = (usize, &str)> {
    let starts = code.char_indices().filter(|(at, c)| is_word(*c) && !code[..*at].ends_with(is_word));
    starts.map(|(at, _)| (at, code[at..].split(|c| !is_word(c)).next().unwrap_or_default()))
}

pub fn line_of(text: &str, at: usize) -> usize {
    text[..at].matches('\n').count() + 1
}

/// Blanks comments and literals, then test modules.
pub fn take_apart(path: String, text: String) -> Source {
    let mut code = String::with_capacity(text.len());
    let mut literals = Vec::new();
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (kind, length) = token(rest, &code);
        let (piece, after) = rest.split_at(length);
        match kind {
            Token::Code => code.push_str(piece),
            Token::Comment => blank(&mut code, piece),
            Token::Literal => {
                literals.push((code.len(), piece.trim_start_matches(['r', 'b', '#']).trim_matches(['#', '"']).to_owned()));
                blank(&mut code, piece);
            }
        }
        rest = after;
    }
    while let Some(at) = code.find("#[cfg(test)]") {
        let end = item_end(&code, at);
        let blanked: String = code[at..end].chars().map(|c| if c == '\n' { '\n' } else { ' ' }).collect();
        literals.retain(|(place, _)| !(at..end).contains(place));
        code.replace_range(at..end, &blanked);
    }
    let literals = literals.into_iter().map(|(at, literal)| (line_of(&code, at), literal)).collect();
    Source { path, text, code, literals }
}

enum Token {
    Code,
    Comment,
    Literal,
}

/// What `rest` begins with, and how many bytes it is. `before` tells a raw string from a word that ends in r.
fn token(rest: &str, before: &str) -> (Token, usize) {
    let until = |text: &str, end: &str| text.find(end).map_or(text.len(), |at| at + end.len());
    if rest.starts_with("//") {
        return (Token::Comment, rest.find('\n').unwrap_or(rest.len()));
    }
    if rest.starts_with("/*") {
        return (Token::Comment, until(rest, "*/"));
    }
    let prefix = if before.ends_with(is_word) { 0 } else { rest.find(|c| c != 'b' && c != 'r').unwrap_or(0) };
    let hashes = rest[prefix..].len() - rest[prefix..].trim_start_matches('#').len();
    let raw = rest[..prefix].contains('r') && rest[prefix + hashes..].starts_with('"');
    if raw {
        let opened = prefix + hashes + 1;
        return (Token::Literal, opened + until(&rest[opened..], &format!("\"{}", "#".repeat(hashes))));
    }
    if rest[prefix..].starts_with('"') {
        return (Token::Literal, prefix + 1 + quoted(&rest[prefix + 1..], '"'));
    }
    // A character literal closes after one character; a lifetime does not close.
    let mut inner = rest.strip_prefix('\'').unwrap_or_default().chars();
    match (inner.next(), inner.next()) {
        (Some('\\'), _) => (Token::Literal, 1 + quoted(&rest[1..], '\'')),
        (Some(c), Some('\'')) => (Token::Literal, 2 + c.len_utf8()),
        _ => (Token::Code, rest.chars().next().map_or(1, char::len_utf8)),
    }
}

/// Bytes up to and with the closing quote.
fn quoted(text: &str, close: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == close => return at + c.len_utf8(),
            _ => {}
        }
    }
    text.len()
}

fn blank(code: &mut String, piece: &str) {
    code.extend(piece.chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
}

/// Where the item that begins at `at` ends: at its closing brace, or at a semicolon before any brace.
fn item_end(code: &str, at: usize) -> usize {
    let mut depth = 0_usize;
    for (offset, c) in code[at..].char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 1 => return at + offset + 1,
            '}' => depth = depth.saturating_sub(1),
            ';' if depth == 0 => return at + offset + 1,
            _ => {}
        }
    }
    code.len()
}

#[test]
fn the_rules_see_what_they_should() {
    let text = "//! head\nuse crate::{a, b::{c, d}};\nfn f() { let x = 'x'; g(\"crate::no \\\" \", r#\"kong\"#); super::super::e::h(); }\n#[cfg(test)]\nmod tests {\n    use crate::z;\n    const S: &str = \"meta\";\n}\n// println!\n";
    let source = take_apart("daemon/src/m/n.rs".to_owned(), text.to_owned());
    let used: Vec<String> = used_paths(&source, "m/n.rs").into_iter().map(|(_, path)| path).collect();
    assert_eq!(used, ["a", "b::c", "b::d", "e::h"]);
    let literals: Vec<&str> = source.literals.iter().map(|(_, literal)| literal.as_str()).collect();
    assert!(literals.contains(&"kong") && !literals.contains(&"meta"), "{literals:?}");
    assert!(!source.code.contains("println"), "comments are no code");
    assert_eq!(source.code.lines().count(), text.lines().count());
}
