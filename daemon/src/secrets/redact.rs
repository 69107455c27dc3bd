//! Takes a project's secrets out of what its services say. A value is found as it is, and as a URL, a JSON document or
//! an SQL literal spells it. Hygiene, not a boundary: a service that wants to leak its own secret, can.

use super::ProjectSecrets;

/// Values from here on are found anywhere.
const ANYWHERE_BYTES: usize = 8;
/// Shorter ones, down to here, only where they stand by themselves: `pass` is also a part of `passed`. Below it a value
/// is an ordinary word or digit, and taking that out says what it is.
const ALONE_BYTES: usize = 4;
/// A rest of a value at a joint counts from here on: lines begin with dates and words that a password may end in.
const REST_BYTES: usize = 6;
/// Bytes that one byte of a value may be spelled with, at most: `\u0041`.
const SPELLING_BYTES_MAX: usize = 6;

/// What a spelling begins with that is not the letter itself.
const SPELLED_WITH: &[u8] = b"%+\\'";

impl ProjectSecrets {
    /// The text with every occurrence of a secret replaced by its name in brackets: what may be stored or shown of a
    /// service's own words. Left as they are: values of fewer than 4 bytes, and ones of fewer than 8 within a word.
    pub fn redact(&self, text: &str) -> String {
        let values = self.by_length();
        let mut clean = String::with_capacity(text.len());
        let mut at = 0;
        // Most places of most texts begin nothing: a probe's answer is read here ninety times a second per hundred projects.
        let mut begins = [false; 256];
        for first in values.iter().filter_map(|(_, value)| value.bytes().next()).chain(SPELLED_WITH.iter().copied()) {
            begins[usize::from(first)] = true;
        }
        while let Some(next) = text[at..].chars().next() {
            if !begins[usize::from(text.as_bytes()[at])] {
                clean.push(next);
                at += next.len_utf8();
                continue;
            }
            match values.iter().find_map(|(name, value)| Some((name, found_at(text, at, value)?))) {
                Some((name, end)) => {
                    clean.push_str(&format!("[{name}]"));
                    at = end;
                }
                None => {
                    clean.push(next);
                    at += next.len_utf8();
                }
            }
        }
        clean
    }

    /// The same for a piece of a longer text. Where its beginning is missing, the rest of a secret that it begins with
    /// is taken out too; where its end is missing, as much of the end as may be the first part of one.
    pub fn redact_piece(&self, text: &str, beginning_missing: bool, end_missing: bool) -> String {
        let rest = if beginning_missing { self.rest_of_one(text) } else { None };
        let (head, text) = rest.map_or((String::new(), text), |(name, end)| (format!("[{name}]"), &text[end..]));
        let mut clean = head + &self.redact(text);
        if end_missing {
            let longest = self.iter().map(|(_, value)| spelled_bytes_max(value.expose())).max().unwrap_or(0);
            clean.truncate(clean.floor_char_boundary(clean.len().saturating_sub(longest)));
        }
        clean
    }

    /// The longest rest of a value that the text begins with, and where it ends.
    fn rest_of_one(&self, text: &str) -> Option<(&str, usize)> {
        let rests = self.iter().filter(|(_, value)| value.expose().len() >= ANYWHERE_BYTES).filter_map(|(name, value)| {
            let value = value.expose();
            let mut starts = value.char_indices().map(|(at, _)| at).skip(1).take_while(|at| value.len() - at >= REST_BYTES);
            Some((name, starts.find_map(|at| spelled(text.as_bytes(), &value[at..]))?))
        });
        rests.max_by_key(|(_, end)| *end)
    }

    /// Longest first, so that a short one within a long one does not break that up.
    fn by_length(&self) -> Vec<(&str, &str)> {
        let mut values: Vec<_> = self.iter().map(|(name, value)| (name, value.expose().as_str())).collect();
        values.retain(|(_, value)| value.len() >= ALONE_BYTES);
        values.sort_by_key(|(_, value)| std::cmp::Reverse(value.len()));
        values
    }
}

/// Where an occurrence of the value that begins at `at` ends.
fn found_at(text: &str, at: usize, value: &str) -> Option<usize> {
    let end = at + spelled(&text.as_bytes()[at..], value)?;
    if value.len() >= ANYWHERE_BYTES {
        return Some(end);
    }
    let word = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    let before = &text[..at];
    // `%40` and `\n` end in a letter or digit and are none.
    let escape = before.len() >= 3 && escaped(&before.as_bytes()[at - 3..]).is_some() || before.ends_with("\\n");
    let joined = word(before.chars().next_back()) && word(value.chars().next()) && !escape
        || word(text[end..].chars().next()) && word(value.chars().next_back());
    (!joined).then_some(end)
}

/// How many bytes at the beginning of `text` spell the value.
fn spelled(text: &[u8], value: &str) -> Option<usize> {
    let first = text.first()?;
    let escape = |byte: &u8| SPELLED_WITH.contains(byte);
    if !escape(first) {
        if value.as_bytes().first() != Some(first) {
            return None;
        }
        // That byte stood for itself, so the next one does too, or begins a spelling.
        if let Some(second) = value.as_bytes().get(1)
            && !text.get(1).is_some_and(|byte| byte == second || escape(byte))
        {
            return None;
        }
    }
    if text.starts_with(value.as_bytes()) {
        return Some(value.len());
    }
    // A letter may have several spellings at one place (`%` and `%25`), so all ends are kept.
    let mut ends = vec![0];
    for letter in value.chars() {
        let mut next: Vec<usize> = Vec::new();
        for end in ends {
            spellings(&text[end..], letter, |length| next.push(end + length));
        }
        next.sort_unstable();
        next.dedup();
        if next.is_empty() {
            return None;
        }
        ends = next;
    }
    ends.pop()
}

/// Tells the length of every spelling of the letter that the text begins with.
fn spellings(text: &[u8], letter: char, mut found: impl FnMut(usize)) {
    let mut buffer = [0; 4];
    let plain = letter.encode_utf8(&mut buffer).as_bytes();
    if text.starts_with(plain) {
        found(plain.len());
    }
    match text.first() {
        Some(b'%')
            if plain.iter().enumerate().all(|(at, byte)| escaped(text.get(at * 3..).unwrap_or_default()) == Some(*byte)) =>
        {
            found(plain.len() * 3);
        }
        Some(b'+') if letter == ' ' => found(1),
        Some(b'\'') if letter == '\'' && text.starts_with(b"''") => found(2),
        Some(b'\\') => {
            let short = match letter {
                '"' | '\\' | '/' | '\'' => letter,
                '\n' => 'n',
                '\r' => 'r',
                '\t' => 't',
                '\u{8}' => 'b',
                '\u{c}' => 'f',
                _ => '\0',
            };
            if text.get(1).is_some_and(|byte| char::from(*byte) == short) {
                found(2);
            }
            let mut units = [0; 2];
            let units = letter.encode_utf16(&mut units);
            if units.iter().enumerate().all(|(at, unit)| code_unit(text.get(at * 6..).unwrap_or_default()) == Some(*unit)) {
                found(units.len() * 6);
            }
        }
        _ => {}
    }
}

/// The byte of a `%41` at the beginning.
fn escaped(text: &[u8]) -> Option<u8> {
    u8::try_from(hexadecimal(text.strip_prefix(b"%")?.get(..2)?)?).ok()
}

/// The unit of a `\u0041` at the beginning.
fn code_unit(text: &[u8]) -> Option<u16> {
    u16::try_from(hexadecimal(text.strip_prefix(b"\\u")?.get(..4)?)?).ok()
}

fn hexadecimal(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0, |sum, digit| Some(sum * 16 + char::from(*digit).to_digit(16)?))
}

fn spelled_bytes_max(value: &str) -> usize {
    // Nobody encodes what may stand in a URL, in JSON and in SQL as it is.
    let as_it_is = value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte));
    if as_it_is { value.len() } else { value.len() * SPELLING_BYTES_MAX }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::domain::Secret;

    fn secrets(values: &[(&str, &str)]) -> ProjectSecrets {
        let values = values.iter().map(|(name, value)| ((*name).to_owned(), Secret::new((*value).to_owned())));
        ProjectSecrets::from_values(values.collect::<BTreeMap<_, _>>())
    }

    #[test]
    fn a_value_is_found_however_it_is_spelled() {
        let secrets = secrets(&[("PW", "p@ss/w 'ö\"\\%41")]);
        for text in [
            "p@ss/w 'ö\"\\%41",
            "p%40ss%2Fw%20%27%C3%B6%22%5C%2541",
            "p%40ss%2fw+%27%c3%b6%22%5c%2541",
            "p%40ss/w%20'%C3%B6%22%5C%2541",
            r#"p@ss/w 'ö\"\\%41"#,
            r#"p@ss\/w \u0027\u00f6\"\\%41"#,
            "p@ss/w ''ö\"\\%41",
        ] {
            assert_eq!(secrets.redact(&format!("postgres://o:{text}@host {text}")), "postgres://o:[PW]@host [PW]", "{text}");
        }
        assert_eq!(secrets.redact("p%40ss/w 'ö\"\\%4"), "p%40ss/w 'ö\"\\%4", "the last letter is missing");
    }

    #[test]
    fn a_short_value_is_found_where_it_stands_by_itself() {
        let secrets = secrets(&[("PW", "pass"), ("TINY", "db")]);
        let cases = [
            ("password=pass;", "password=[PW];"),
            ("o:pass@db", "o:[PW]@db"),
            ("o%3Apass%40h", "o%3A[PW]%40h"),
            (r#"{"k":"a\npass"}"#, r#"{"k":"a\n[PW]"}"#),
            ("passed a bypass, no_pass", "passed a bypass, no_pass"),
            ("pass", "[PW]"),
        ];
        for (text, want) in cases {
            assert_eq!(secrets.redact(text), want);
        }
    }

    #[test]
    fn a_long_value_wins_over_a_short_one_within_it() {
        let secrets = secrets(&[("A", "eyJhbGci"), ("B", "eyJhbGciOiJIUzI1NiJ9.payload")]);
        assert_eq!(secrets.redact("xeyJhbGciOiJIUzI1NiJ9.payloadx eyJhbGci"), "x[B]x [A]");
    }

    #[test]
    fn no_part_of_a_value_is_left_at_the_joints() {
        let secrets = secrets(&[("KEY", "abcdefghijklmnop")]);
        for kept in 1..16 {
            let text = format!("{} and {}", &"abcdefghijklmnop"[16 - kept..], &"abcdefghijklmnop"[..kept]);
            let clean = secrets.redact_piece(&text, true, true);
            assert!(kept < REST_BYTES || clean.starts_with("[KEY] and") || "[KEY] and ".starts_with(&clean), "{text}: {clean}");
            assert!(!clean.ends_with(&"abcdefghijklmnop"[..kept]), "{text}: {clean}");
        }
        assert_eq!(secrets.redact_piece("mnop and abcd", false, false), "mnop and abcd");
        // An encoded one is longer, and may be cut within a letter.
        let secrets = self::secrets(&[("PW", "pass word!")]);
        assert_eq!(secrets.redact_piece("0123456789 pass%20word%2", false, true), "");
        assert_eq!(secrets.redact_piece("%20word%21 it is", true, false), "[PW] it is");
    }
}
