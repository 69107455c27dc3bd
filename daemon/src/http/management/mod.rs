//! Supabase's public Management API (`/v1`), as the official command line, the Terraform provider and client libraries call
//! it: other words and shapes over the same domain. What is not served says so by name (501), so that a tool's user knows.

pub mod health;
pub mod keys;
pub mod organizations;
pub mod projects;
pub mod words;

use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde_json::json;

/// What the rest of the API is about, by the part of the path that tells: `/v1/projects/{ref}/FEATURE`, or `/v1/FEATURE`.
const FEATURES: [(&str, &str); 24] = [
    ("advisors", "advisors"),
    ("analytics", "log queries"),
    ("billing", "billing"),
    ("branches", "branches"),
    ("claim-token", "project claims"),
    ("cli", "login roles"),
    ("config", "service configuration"),
    ("custom-hostname", "custom hostnames"),
    ("database", "database queries, migrations and backups"),
    ("entitlements", "entitlements"),
    ("functions", "edge functions"),
    ("jit-access", "just-in-time access"),
    ("network-bans", "network bans"),
    ("network-restrictions", "network restrictions"),
    ("oauth", "OAuth applications"),
    ("pgsodium", "the encryption root key"),
    ("postgrest", "PostgREST configuration"),
    ("read-replicas", "read replicas"),
    ("secrets", "secrets of edge functions"),
    ("snippets", "SQL snippets"),
    ("ssl-enforcement", "TLS enforcement"),
    ("storage", "storage administration"),
    ("types", "generated types"),
    ("upgrade", "upgrades of PostgreSQL"),
];

/// 501 that names the feature for what upstream has and this does not; `None` for what nobody has.
pub fn not_served(uri: &Uri) -> Option<Response> {
    let mut parts = uri.path().strip_prefix("/v1/")?.split('/');
    let part = match (parts.next()?, parts.next(), parts.next()) {
        ("projects" | "organizations", Some(_), Some(part)) => part,
        (part, ..) => part,
    };
    let (_, feature) = FEATURES.iter().find(|(known, _)| *known == part)?;
    let message = format!("{feature} are not served by supamanager yet: `{}` of the Management API", uri.path());
    Some(
        (StatusCode::NOT_IMPLEMENTED, axum::Json(json!({"message": message, "code": "not_served", "feature": part})))
            .into_response(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_upstream_has_and_this_does_not_is_named() {
        let status = |path: &str| not_served(&path.parse().expect("a path")).map(|answer| answer.status().as_u16());
        assert!(FEATURES.is_sorted());
        assert_eq!(status("/v1/projects/abcdefghijklmnopqrst/functions"), Some(501));
        assert_eq!(status("/v1/projects/abcdefghijklmnopqrst/functions/hello/body"), Some(501));
        assert_eq!(status("/v1/snippets"), Some(501));
        assert_eq!(status("/v1/projects/abcdefghijklmnopqrst/nothing"), None);
        assert_eq!(status("/platform/functions"), None);
    }
}
