//! Refuses projects whose name begins with `tmp-`.

use supamanager_plugin::{Admitter, Decision, Error, export_admitter};

struct Plugin;

impl Admitter for Plugin {
    fn admit(request: &str) -> Result<Decision, Error> {
        Ok(if is_temporary(request) {
            Decision::Refuse("a name that begins with `tmp-` is for nothing that stays".to_owned())
        } else {
            Decision::Admit
        })
    }
}

export_admitter!(Plugin);

/// The host writes its JSON without spaces, and a quote inside of a text with a backslash: enough for one field. Whoever
/// reads more takes serde_json.
fn is_temporary(request: &str) -> bool {
    let wanted = request.split_once(r#""wanted":{"#);
    wanted.is_some_and(|(_, fields)| fields.contains(r#""name":"tmp-"#))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_wanted_name_counts() {
        assert!(is_temporary(r#"{"project":null,"wanted":{"name":"tmp-shop"}}"#));
        assert!(!is_temporary(r#"{"project":null,"wanted":{"name":"shop-tmp-"}}"#));
        assert!(!is_temporary(r#"{"project":{"name":"tmp-shop"},"wanted":{}}"#));
    }
}
