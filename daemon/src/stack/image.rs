//! Image references, taken apart the way the engine does, so that two of them can be compared.
//!
//! Text cannot be compared: `kong:2.8.1`, `docker.io/library/kong:2.8.1` and `index.docker.io/kong:2.8.1` are one image.

use std::fmt;

/// A reference in full.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageReference {
    /// Host and optional port; `docker.io` when none is written.
    pub registry: String,
    /// Path under the registry; `library/` is added to a single word of `docker.io`.
    pub repository: String,
    /// The tag; `latest` when neither a tag nor a digest is written.
    pub tag: Option<String>,
    /// `sha256:` and 64 hexadecimal digits.
    pub digest: Option<String>,
}

impl ImageReference {
    /// Takes a reference apart.
    ///
    /// # Errors
    /// A sentence that says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = |what: &str| format!("`{}` is not an image reference: {what}", text.chars().take(300).collect::<String>());
        if text.len() > 512 {
            return Err(wrong("it has more than 512 bytes"));
        }
        let (name, digest) = match text.split_once('@') {
            None => (text, None),
            Some((name, digest)) if is_digest(digest) => (name, Some(digest.to_owned())),
            Some(_) => return Err(wrong("after @ comes sha256: and 64 hexadecimal digits")),
        };
        // A colon behind the last slash begins the tag; one before it is a registry's port.
        let tag_at = name.rfind(':').filter(|at| !name[*at..].contains('/'));
        let (name, tag) = match tag_at {
            None => (name, None),
            Some(at) if is_tag(&name[at + 1..]) => (&name[..at], Some(name[at + 1..].to_owned())),
            Some(_) => return Err(wrong("the tag has letters, digits, `_`, `.` and `-`, at most 128")),
        };
        let (registry, path) = split_registry(name);
        let official = registry == "docker.io" && !path.contains('/');
        let repository = if official { format!("library/{path}") } else { path.to_owned() };
        if !is_registry(registry) {
            return Err(wrong("the registry is a host name with an optional port"));
        }
        if !repository.split('/').all(is_component) {
            return Err(wrong("the repository has lower-case letters, digits and single `.`, `_`, `-` between them"));
        }
        let tag = tag.or_else(|| digest.is_none().then(|| "latest".to_owned()));
        Ok(Self { registry: registry.to_owned(), repository, tag, digest })
    }

    /// Whether the repository lies under `prefix`: `registry.example.org/` (all of it), `registry.example.org/team/`,
    /// `team/` (of `docker.io`) or a whole repository. Whole components only.
    pub fn is_under(&self, prefix: &str) -> bool {
        let (registry, path) = split_registry(prefix);
        let path = path.trim_end_matches('/');
        let covers_all = path.is_empty() && prefix.ends_with('/');
        let inside =
            !path.is_empty() && self.repository.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        self.registry == registry && (covers_all || inside)
    }
}

impl fmt::Display for ImageReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

/// The engine's rule: the first component is a registry when it has a dot or a colon or is `localhost`.
fn split_registry(name: &str) -> (&str, &str) {
    match name.split_once('/') {
        Some(("index.docker.io", rest)) => ("docker.io", rest),
        Some((head, rest)) if head.contains(['.', ':']) || head == "localhost" => (head, rest),
        _ => ("docker.io", name),
    }
}

fn is_registry(text: &str) -> bool {
    let (host, port) = text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port)));
    let host_fits = host.split('.').all(|label| {
        !label.is_empty()
            && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    });
    host_fits && port.is_none_or(|port| !port.is_empty() && port.len() <= 5 && port.bytes().all(|b| b.is_ascii_digit()))
}

fn is_component(text: &str) -> bool {
    let alphanumeric = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = text.as_bytes();
    let ends = bytes.first().is_some_and(|b| alphanumeric(*b)) && bytes.last().is_some_and(|b| alphanumeric(*b));
    let separators = text.split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
    ends && bytes.iter().all(|b| alphanumeric(*b) || matches!(b, b'.' | b'_' | b'-'))
        && separators.into_iter().all(|run| matches!(run, "" | "." | "_" | "__") || run.bytes().all(|b| b == b'-'))
}

fn is_tag(text: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    text.len() <= 128 && text.bytes().next().is_some_and(word) && text.bytes().all(|b| word(b) || matches!(b, b'.' | b'-'))
}

fn is_digest(text: &str) -> bool {
    text.strip_prefix("sha256:")
        .is_some_and(|hex| hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full(text: &str) -> String {
        ImageReference::parse(text).unwrap().to_string()
    }

    #[test]
    fn short_and_long_forms_of_one_image_are_equal() {
        for text in ["kong", "kong:latest", "docker.io/kong", "docker.io/library/kong:latest", "index.docker.io/library/kong"] {
            assert_eq!(full(text), "docker.io/library/kong:latest", "{text}");
        }
        assert_eq!(full("supabase/postgres:15.1.0.147"), "docker.io/supabase/postgres:15.1.0.147");
        assert_eq!(full("localhost:5000/a/b"), "localhost:5000/a/b:latest");
        assert_eq!(full("registry.example.org:443/x:1"), "registry.example.org:443/x:1");
        let digest = format!("sha256:{}", "a".repeat(64));
        assert_eq!(full(&format!("x@{digest}")), format!("docker.io/library/x@{digest}"));
        assert_eq!(full(&format!("x:1@{digest}")), format!("docker.io/library/x:1@{digest}"));
    }

    #[test]
    fn odd_references_are_refused() {
        let long_tag = format!("x:{}", "1".repeat(129));
        for bad in [
            "",
            "Kong",
            "docker.io/Library/x",
            "x:",
            "x:-1",
            "x@sha256:12",
            "x@md5:aa",
            "a//b",
            "/a",
            "a/",
            "a..b",
            "a___b",
            "x y",
            "x\ny",
            "http://a/b",
            "x:1:2",
            "EXAMPLE.org/x",
            "a:b/c:d/e",
            "-a",
            "a.",
            "x@sha256:",
            "é",
            "../x",
            &long_tag,
        ] {
            assert!(ImageReference::parse(bad).is_err(), "{bad:?} must be refused");
        }
    }

    #[test]
    fn a_prefix_covers_whole_components() {
        let image = ImageReference::parse("registry.example.org/team/db:1").unwrap();
        assert!(image.is_under("registry.example.org/team/"));
        assert!(image.is_under("registry.example.org/team/db"));
        assert!(image.is_under("registry.example.org/"));
        for other in ["registry.example.org/te", "example.org/team", "team/", "registry.example.org", "", "/", "docker.io/"] {
            assert!(!image.is_under(other), "{other} does not cover it");
        }
        assert!(ImageReference::parse("team/db").unwrap().is_under("docker.io/team/"));
        assert!(ImageReference::parse("team/db").unwrap().is_under("team/"));
        assert!(!ImageReference::parse("team-evil/db").unwrap().is_under("team/"));
    }
}
