//! References to secrets inside environment values: `${NAME}`, and `$$` for a dollar sign. Nothing else that
//! Compose could interpolate (`$NAME`, `${NAME:-default}`) is allowed, so there is one way to read a value.

use crate::domain::Secret;

/// Why a value cannot be read or filled in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    /// A `$` that begins neither `${NAME}` nor `$$`.
    #[error("holds a `$` that is neither `${{NAME}}` nor `$$` (NAME: A-Z, 0-9 and _, a letter first)")]
    Malformed,
    /// Nobody knows the name.
    #[error("refers to `{0}`, which is not a declared secret")]
    Unknown(String),
}

/// A piece of a value.
enum Piece<'a> {
    Text(&'a str),
    Dollar,
    Name(&'a str),
}

fn pieces(value: &str) -> Result<Vec<Piece<'_>>, ReferenceError> {
    let mut out = Vec::new();
    let mut rest = value;
    while let Some(at) = rest.find('$') {
        out.push(Piece::Text(&rest[..at]));
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            out.push(Piece::Dollar);
            rest = after;
        } else {
            let inner = rest.strip_prefix('{').ok_or(ReferenceError::Malformed)?;
            let (name, after) = inner.split_once('}').ok_or(ReferenceError::Malformed)?;
            if !is_name(name) {
                return Err(ReferenceError::Malformed);
            }
            out.push(Piece::Name(name));
            rest = after;
        }
    }
    out.push(Piece::Text(rest));
    Ok(out)
}

fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_uppercase())
        && name.len() <= 64
        && name.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')
}

/// The names a value refers to, in order, with repetitions.
///
/// # Errors
/// [`ReferenceError::Malformed`].
pub fn references(value: &str) -> Result<Vec<&str>, ReferenceError> {
    let name = |piece| match piece {
        Piece::Name(name) => Some(name),
        Piece::Text(_) | Piece::Dollar => None,
    };
    Ok(pieces(value)?.into_iter().filter_map(name).collect())
}

/// The value with its references filled in. A secret's own text is not looked at again.
///
/// # Errors
/// [`ReferenceError`], which never holds a value.
pub fn resolve<'s>(value: &str, lookup: impl Fn(&str) -> Option<&'s Secret<String>>) -> Result<Secret<String>, ReferenceError> {
    let parts = pieces(value)?.into_iter().map(|piece| match piece {
        Piece::Text(plain) => Ok(plain),
        Piece::Dollar => Ok("$"),
        Piece::Name(name) => match lookup(name) {
            Some(secret) => Ok(secret.expose().as_str()),
            None => Err(ReferenceError::Unknown(name.to_owned())),
        },
    });
    // Joined in one allocation, after all are known: no half-grown copy of a secret stays in memory.
    Ok(Secret::new(parts.collect::<Result<Vec<_>, _>>()?.concat()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_listed_and_filled_in_once() {
        assert_eq!(references("postgres://a:${A_1}@db/${B}?x=$$y").unwrap(), ["A_1", "B"]);
        let (a, b) = (Secret::new("p${B}$".to_owned()), Secret::new("q".to_owned()));
        let lookup = |name: &str| match name {
            "A_1" => Some(&a),
            "B" => Some(&b),
            _ => None,
        };
        assert_eq!(resolve("x${A_1}$$${B}", lookup).ok().unwrap().expose(), "xp${B}$$q");
        assert_eq!(resolve("${C}", lookup).err(), Some(ReferenceError::Unknown("C".into())));
    }

    #[test]
    fn what_compose_would_interpolate_otherwise_is_malformed() {
        for bad in ["$A", "${A:-x}", "${a}", "${}", "${A", "$", "a$b", "${1A}", "${A-}", "$$$"] {
            assert_eq!(references(bad), Err(ReferenceError::Malformed), "{bad}");
        }
    }
}
