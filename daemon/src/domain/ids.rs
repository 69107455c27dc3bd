//! Identifiers, each with the one alphabet it may use.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Why a text is not an identifier of the wanted kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a {kind}: expected {expected}")]
pub struct IdError {
    /// What was wanted, for example `project ref`.
    pub kind: &'static str,
    /// The form it must have.
    pub expected: &'static str,
    /// What was given, cut to 64 characters.
    pub text: String,
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $expected:literal, $valid:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Checks the form.
            ///
            /// # Errors
            /// [`IdError`] when the text has another form.
            pub fn parse(text: &str) -> Result<Self, IdError> {
                let valid: fn(&str) -> bool = $valid;
                if valid(text) {
                    Ok(Self(text.to_owned()))
                } else {
                    Err(IdError { kind: $kind, expected: $expected, text: text.chars().take(64).collect() })
                }
            }

            /// The identifier as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;
            fn try_from(text: String) -> Result<Self, IdError> {
                Self::parse(&text)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0
            }
        }
    };
}

text_id!(
    /// A project's id: what Supabase's own tools accept as a ref, `^[a-z]{20}$`.
    ProjectRef,
    "project ref",
    "twenty letters a-z",
    |text| text.len() == 20 && text.bytes().all(|b| b.is_ascii_lowercase())
);

text_id!(
    /// An operation's id: `op_` and 24 hexadecimal digits.
    OperationId,
    "operation id",
    "op_ and 24 hexadecimal digits",
    |text| text.strip_prefix("op_").is_some_and(|hex| hex.len() == 24 && is_lower_hex(hex))
);

text_id!(
    /// The random id of one installation: 32 hexadecimal digits, in the store, in the data folder and
    /// on every object of the engine (decision 1).
    InstallationId,
    "installation id",
    "32 hexadecimal digits",
    |text| text.len() == 32 && is_lower_hex(text)
);

fn is_lower_hex(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ref_is_twenty_lower_case_letters() {
        assert!(ProjectRef::parse("abcdefghijklmnopqrst").is_ok());
        for bad in ["abc123", "abcdefghijklmnopqrs", "abcdefghijklmnopqrstu", "Abcdefghijklmnopqrst", ""] {
            assert!(ProjectRef::parse(bad).is_err(), "{bad} must be refused");
        }
    }
}
