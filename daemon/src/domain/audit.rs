//! A line of the audit log, and what chains it to the line before.

use sha2::{Digest, Sha256};

use super::UnixMillis;

/// What somebody did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditEntry {
    /// Random id.
    pub id: String,
    /// Id of the token or user who did it.
    pub caller: String,
    /// Their name then: tokens and users go, the log stays.
    pub caller_name: String,
    /// What, for example `project.create`.
    pub action: String,
    /// In which organisation; `None` for what concerns the installation.
    pub organization_id: Option<String>,
    /// On which project. It may be long gone.
    pub project_id: Option<String>,
    /// JSON object as text; never a secret.
    pub detail: String,
}

/// The same as the log holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditLine {
    /// From 1, without gaps.
    pub position: i64,
    /// When.
    pub at: UnixMillis,
    /// What.
    pub entry: AuditEntry,
    /// SHA-256 in hex over this line and the hash of the line before.
    pub hash: String,
}

/// What the first line is chained to.
pub const AUDIT_ROOT: &str = "";

impl AuditEntry {
    /// The hash of this line at this place. The fields are a JSON array: no two lines have one text.
    pub fn hash(&self, before: &str, position: i64, at: UnixMillis) -> String {
        let fields = serde_json::json!([
            before,
            position,
            at,
            self.id,
            self.caller,
            self.caller_name,
            self.action,
            self.organization_id,
            self.project_id,
            self.detail
        ]);
        Sha256::digest(fields.to_string()).iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_and_the_line_before_are_in_the_hash() {
        let entry = AuditEntry {
            id: "1".into(),
            caller: "2".into(),
            caller_name: "x".into(),
            action: "project.create".into(),
            organization_id: None,
            project_id: Some("p".into()),
            detail: "{}".into(),
        };
        let others = [
            AuditEntry { id: "3".into(), ..entry.clone() },
            AuditEntry { caller: "3".into(), ..entry.clone() },
            AuditEntry { caller_name: "y".into(), ..entry.clone() },
            AuditEntry { action: "project.delete".into(), ..entry.clone() },
            AuditEntry { organization_id: Some(String::new()), ..entry.clone() },
            AuditEntry { project_id: None, ..entry.clone() },
            AuditEntry { detail: "[]".into(), ..entry.clone() },
        ];
        let hash = entry.hash(AUDIT_ROOT, 1, 5);
        assert_eq!(hash.len(), 64);
        let mut hashes: Vec<String> = others.iter().map(|other| other.hash(AUDIT_ROOT, 1, 5)).collect();
        hashes.extend([entry.hash("0", 1, 5), entry.hash(AUDIT_ROOT, 2, 5), entry.hash(AUDIT_ROOT, 1, 6), hash]);
        hashes.sort_unstable();
        hashes.dedup();
        assert_eq!(hashes.len(), 11);
    }
}
