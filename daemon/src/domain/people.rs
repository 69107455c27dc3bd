//! Who may do what, as one decision without I/O: a caller has roles, a token's scope takes some of them away, and what is
//! left is compared with what a call needs.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{ProjectRef, UnixMillis};

/// What somebody is in an organisation or on a project; each may what those before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Sees projects, their health, logs and usage; no key, no data.
    ReadOnly,
    /// Works with a project's data and keys, and restarts it.
    Developer,
    /// Makes, changes, pauses and deletes projects, and invites.
    Administrator,
    /// Everything: credentials, commands in containers, people, the audit log.
    Owner,
}

impl Role {
    /// All of them, the least first.
    pub const ALL: [Self; 4] = [Self::ReadOnly, Self::Developer, Self::Administrator, Self::Owner];

    /// The word on the wire and in the store.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ReadOnly => "read-only",
            Self::Developer => "developer",
            Self::Administrator => "administrator",
            Self::Owner => "owner",
        }
    }

    /// The role of this word.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == word)
    }
}

/// What a token leaves of its user's roles. An empty one leaves all.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scope {
    /// At most this role.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// Only in this organisation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub organization_id: Option<String>,
    /// Only on these projects; and then nothing of an organisation beyond them.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub projects: BTreeSet<ProjectRef>,
}

/// How somebody proved who they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proof {
    /// An access token.
    Token,
    /// A session, after a password.
    Session,
}

/// Whoever a request comes from, with everything that decides what they may.
#[derive(Debug, Clone)]
pub struct Caller {
    /// Of the token or the user: what the audit log and idempotency keys hold.
    pub id: String,
    /// For people to read: the token's name or the user's address.
    pub name: String,
    /// How they proved it.
    pub proof: Proof,
    /// The user, if it is one's.
    pub user_id: Option<String>,
    /// Where a project goes that names no organisation.
    pub home: String,
    /// Organisation -> role.
    pub organizations: BTreeMap<String, Role>,
    /// Project -> role, beside what the organisation gives.
    pub projects: BTreeMap<ProjectRef, Role>,
    /// What is taken away.
    pub scope: Scope,
}

impl Caller {
    /// The role in an organisation as a whole.
    pub fn role_in(&self, organization: &str) -> Option<Role> {
        if !self.scope.projects.is_empty() || self.outside(organization) {
            return None;
        }
        self.bounded(self.organizations.get(organization).copied())
    }

    /// The role on a project of an organisation: the higher of the two that were given.
    pub fn role_on(&self, organization: &str, project: &ProjectRef) -> Option<Role> {
        let elsewhere = !self.scope.projects.is_empty() && !self.scope.projects.contains(project);
        if elsewhere || self.outside(organization) {
            return None;
        }
        self.bounded(self.organizations.get(organization).copied().max(self.projects.get(project).copied()))
    }

    /// The organisations it has a role in, and which.
    pub fn roles(&self) -> impl Iterator<Item = (&str, Role)> {
        self.organizations.keys().filter_map(|id| Some((id.as_str(), self.role_in(id)?)))
    }

    /// How an operation that it ended says so.
    pub fn spoken(&self) -> String {
        match self.proof {
            Proof::Token => format!("token {}", self.name),
            Proof::Session => self.name.clone(),
        }
    }

    fn outside(&self, organization: &str) -> bool {
        self.scope.organization_id.as_ref().is_some_and(|only| only != organization)
    }

    fn bounded(&self, role: Option<Role>) -> Option<Role> {
        role.map(|role| self.scope.role.map_or(role, |most| role.min(most)))
    }
}

/// A person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// A UUID.
    pub id: String,
    /// What dialects with numeric ids call it; from 1.
    pub number: i64,
    /// In lower case.
    pub email: String,
    /// What they want to be called; may be empty.
    pub name: String,
    /// Since when.
    pub created_at: UnixMillis,
    /// Since when they are shut out.
    pub disabled_at: Option<UnixMillis>,
}

/// An organisation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Organization {
    /// The slug.
    pub id: String,
    /// What dialects with numeric ids call it; from 1.
    pub number: i64,
    /// For people.
    pub name: String,
    /// Since when.
    pub created_at: UnixMillis,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn project(letter: char) -> ProjectRef {
        ProjectRef::parse(&letter.to_string().repeat(20)).expect("a ref")
    }

    fn caller(scope: Scope) -> Caller {
        Caller {
            id: "1".into(),
            name: "a@b".into(),
            proof: Proof::Session,
            user_id: Some("1".into()),
            home: "ours".into(),
            organizations: [("ours".to_owned(), Role::Administrator), ("seen".to_owned(), Role::ReadOnly)].into(),
            projects: [(project('s'), Role::Developer)].into(),
            scope,
        }
    }

    #[test]
    fn the_higher_role_of_organisation_and_project_counts() {
        let caller = caller(Scope::default());
        assert_eq!(caller.role_in("ours"), Some(Role::Administrator));
        assert_eq!(caller.role_in("theirs"), None);
        assert_eq!(caller.role_on("seen", &project('s')), Some(Role::Developer));
        assert_eq!(caller.role_on("seen", &project('t')), Some(Role::ReadOnly));
        assert_eq!(caller.role_on("ours", &project('t')), Some(Role::Administrator));
        assert_eq!(caller.role_on("theirs", &project('s')), Some(Role::Developer), "a role on a project needs no other");
        assert_eq!(caller.role_on("theirs", &project('t')), None);
    }

    #[test]
    fn a_scope_only_takes_away() {
        let weak = caller(Scope { role: Some(Role::Developer), ..Scope::default() });
        assert_eq!(weak.role_in("ours"), Some(Role::Developer));
        assert_eq!(weak.role_in("seen"), Some(Role::ReadOnly));
        let there = caller(Scope { organization_id: Some("seen".into()), ..Scope::default() });
        assert_eq!(there.role_in("ours"), None);
        assert_eq!(there.role_on("ours", &project('t')), None);
        assert_eq!(there.roles().collect::<Vec<_>>(), [("seen", Role::ReadOnly)]);
        let one = caller(Scope { projects: [project('t')].into(), ..Scope::default() });
        assert_eq!(one.role_in("ours"), None, "an organisation holds more than the project");
        assert_eq!(one.role_on("ours", &project('t')), Some(Role::Administrator));
        assert_eq!(one.role_on("seen", &project('s')), None);
    }

    #[test]
    fn words_and_their_order() {
        for role in Role::ALL {
            assert_eq!(Role::from_word(role.as_str()), Some(role));
        }
        assert!(Role::ALL.is_sorted());
        assert_eq!(Role::from_word("Owner"), None);
        let scope: Scope = serde_json::from_str(r#"{"role": "read-only"}"#).expect("a scope");
        assert_eq!(scope.role, Some(Role::ReadOnly));
        assert!(serde_json::from_str::<Scope>(r#"{"roles": []}"#).is_err());
    }
}
