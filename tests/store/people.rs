//! Users, roles, invitations, sessions and the audit log.

use std::collections::BTreeSet;

use supamanager::domain::{AuditEntry, OperationKind, Role, UnixMillis};
use supamanager::store::{AuditFilter, Chain, Clash, Invitation, NewUser, Refreshed, Session, Store, StoreError};

use crate::world::{self, clash, founded, operation, project, project_ref};

async fn user(store: &Store, id: &str, roles: &[(&str, Role)]) {
    let email = format!("{id}@example.org");
    let new = NewUser { id, email: &email, name: id, password: "$argon2id$", roles };
    store.insert_user(&new, 1).await.expect("made");
}

async fn token(store: &Store, id: &str, user_id: Option<&str>) {
    store.insert_token(&world::token(id, user_id, Some(100)), &format!("hash of {id}")).await.expect("kept");
}

#[tokio::test]
async fn a_user_has_roles_in_organisations_and_on_projects() {
    let (store, _database) = founded().await;
    store.accept_create(&project(0), &operation(0, 0, OperationKind::Create), 1).await.expect("accepted");
    assert!(!store.has_users().await.expect("read"));
    let first = NewUser { id: "f", email: "f@example.org", name: "", password: "", roles: &[("default", Role::Owner)] };
    assert!(store.insert_first_user(&first, 1).await.expect("made"));
    assert!(!store.insert_first_user(&NewUser { id: "g", email: "g@h", ..first }, 1).await.expect("not made"));
    user(&store, "ann", &[("default", Role::Developer)]).await;
    let twice = NewUser { id: "other", email: "ann@example.org", name: "", password: "", roles: &[] };
    assert_eq!(clash(&store.insert_user(&twice, 1).await.expect_err("the address is taken")), Some(Clash::Email));
    let second = store.insert_organization("acme", "Acme", Some("ann"), 2).await.expect("made");
    assert_eq!((second.number, second.id.as_str()), (2, "acme"));
    let taken = store.insert_organization("acme", "Acme", None, 3).await.expect_err("the slug is taken");
    assert_eq!(clash(&taken), Some(Clash::Organization));
    store.set_project_member(&project_ref(0), "ann", Some(Role::Administrator), 4).await.expect("set");

    token(&store, "t", Some("ann")).await;
    let shown = store.token_by_hash("hash of t").await.expect("read").expect("the token");
    let caller = shown.caller;
    let roles: Vec<(&str, Role)> = caller.roles().collect();
    assert_eq!(roles, [("acme", Role::Owner), ("default", Role::Developer)]);
    assert_eq!(caller.role_on("default", &project_ref(0)), Some(Role::Administrator));
    assert_eq!(caller.role_on("default", &project_ref(1)), Some(Role::Developer));
    let members = store.members("default").await.expect("read");
    let seen: Vec<(&str, Option<Role>)> = members.iter().map(|one| (one.user.id.as_str(), one.role)).collect();
    assert_eq!(seen, [("ann", Some(Role::Developer)), ("f", Some(Role::Owner))]);
    assert_eq!(members[0].projects, [(project_ref(0), Role::Administrator)].into());

    store.set_member("default", "ann", None, 5).await.expect("removed");
    let caller = store.token_by_hash("hash of t").await.expect("read").expect("the token").caller;
    assert_eq!(caller.role_on("default", &project_ref(0)), None, "with the organisation go the roles on its projects");
    assert_eq!(caller.role_in("acme"), Some(Role::Owner));
    store.delete_organization("acme", 6).await.expect("it has no projects");
    assert!(matches!(store.delete_organization("default", 6).await, Err(StoreError::Transition(_))));
    let names: Vec<String> = store.organizations().await.expect("read").into_iter().map(|one| one.id).collect();
    assert_eq!(names, ["default"]);
}

#[tokio::test]
async fn an_organisation_that_has_an_owner_keeps_one() {
    let (store, _database) = founded().await;
    user(&store, "dev", &[]).await;
    store.set_member("default", "dev", Some(Role::Developer), 1).await.expect("nobody owned it before either");
    user(&store, "one", &[("default", Role::Owner)]).await;
    for role in [None, Some(Role::Administrator)] {
        let refused = store.set_member("default", "one", role, 2).await;
        assert!(matches!(refused, Err(StoreError::Transition(_))), "{refused:?}");
    }
    assert!(matches!(store.set_disabled("one", true, 2).await, Err(StoreError::Transition(_))));
    user(&store, "own", &[]).await;
    store.insert_organization("theirs", "Theirs", Some("own"), 2).await.expect("made");
    store.set_disabled("own", true, 2).await.expect("nobody is kept in by an organisation of their own");
    user(&store, "two", &[("default", Role::Owner)]).await;
    store.set_disabled("two", true, 3).await.expect("one is left");
    assert!(matches!(store.set_member("default", "one", None, 4).await, Err(StoreError::Transition(_))), "two is shut out");
    store.set_disabled("two", false, 5).await.expect("let in");
    store.set_member("default", "one", None, 6).await.expect("two is left");
}

#[tokio::test]
async fn a_token_is_listed_until_it_is_revoked() {
    let (store, _database) = founded().await;
    user(&store, "ann", &[]).await;
    user(&store, "bob", &[]).await;
    token(&store, "mine", Some("ann")).await;
    token(&store, "nobodys", None).await;
    let of_nobody = store.token_by_hash("hash of nobodys").await.expect("read").expect("the token").caller;
    assert_eq!(of_nobody.role_in("default"), Some(Role::Owner), "it owns its organisation");
    store.token_used("mine", 70).await.expect("noted");
    let listed = store.tokens_of_user("ann").await.expect("read");
    assert_eq!((listed.len(), listed[0].last_used_at), (1, Some(70)));
    assert!(!store.revoke_token("mine", Some("bob"), 80).await.expect("asked"), "it is not bob's");
    assert!(store.revoke_token("mine", Some("ann"), 80).await.expect("asked"));
    assert!(!store.revoke_token("mine", None, 81).await.expect("asked"), "it was");
    assert!(store.tokens_of_user("ann").await.expect("read").is_empty());
    let revoked = store.token_by_hash("hash of mine").await.expect("read").expect("still known").token.revoked_at;
    assert_eq!(revoked, Some(80));
}

fn invitation(id: &str, role: Role, projects: BTreeSet<supamanager::domain::ProjectRef>) -> Invitation {
    Invitation {
        id: id.to_owned(),
        organization_id: "default".to_owned(),
        email: "new@example.org".to_owned(),
        role,
        projects,
        invited_by: "f".to_owned(),
        created_at: 1,
        expires_at: 50,
    }
}

#[tokio::test]
async fn an_invitation_is_taken_once_and_lowers_nobody() {
    let (store, _database) = founded().await;
    store.accept_create(&project(0), &operation(0, 0, OperationKind::Create), 1).await.expect("accepted");
    store.insert_invitation(&invitation("old", Role::Owner, BTreeSet::new()), "1").await.expect("kept");
    store.insert_invitation(&invitation("new", Role::Developer, BTreeSet::new()), "2").await.expect("kept");
    assert!(store.invitation_by_hash("1", 2).await.expect("read").is_none(), "one to the same address ends it");
    assert!(store.invitation_by_hash("2", 50).await.expect("read").is_none(), "it is late");
    assert_eq!(store.invitations("default", 2).await.expect("read").len(), 1);
    let found = store.invitation_by_hash("2", 2).await.expect("read").expect("it");
    let new = NewUser { id: "new", email: "new@example.org", name: "", password: "", roles: &[] };
    assert!(store.take_invitation(&found, "new", Some(&new), 3).await.expect("taken"));
    assert!(!store.take_invitation(&found, "new", None, 4).await.expect("asked"), "it was taken");
    let lower = invitation("lower", Role::ReadOnly, BTreeSet::new());
    store.insert_invitation(&lower, "3").await.expect("kept");
    assert!(store.take_invitation(&lower, "new", None, 5).await.expect("taken"));
    let less = invitation("less", Role::ReadOnly, [project_ref(0)].into());
    store.set_project_member(&project_ref(0), "new", Some(Role::Developer), 5).await.expect("set");
    store.insert_invitation(&less, "5").await.expect("kept");
    assert!(store.take_invitation(&less, "new", None, 5).await.expect("taken"));
    assert_eq!(store.members("default").await.expect("read")[0].projects, [(project_ref(0), Role::Developer)].into());
    let open = invitation("open", Role::Owner, BTreeSet::new());
    store.insert_invitation(&open, "6").await.expect("kept");
    store.set_member("default", "new", Some(Role::Developer), 5).await.expect("set");
    assert!(store.invitation_by_hash("6", 6).await.expect("read").is_none(), "what was promised ends with what they were");
    let alone = invitation("alone", Role::Owner, [project_ref(0), project_ref(1)].into());
    store.insert_invitation(&alone, "4").await.expect("kept");
    assert!(store.take_invitation(&alone, "new", None, 6).await.expect("taken"), "the project that is not there is left out");
    let member = store.members("default").await.expect("read").remove(0);
    assert_eq!((member.role, member.projects), (Some(Role::Developer), [(project_ref(0), Role::Owner)].into()));
    assert!(!store.withdraw_invitation("default", "alone", 7).await.expect("asked"));
}

async fn session(store: &Store, id: &str, password: &str, refresh: &str, now: UnixMillis) {
    let session = Session { id: id.to_owned(), user_id: "ann".to_owned(), expires_at: 1_000 };
    let begun = store.begin_session(&session, password, refresh, now).await.expect("asked");
    assert_eq!(begun, password != "wrong");
}

#[tokio::test]
async fn a_refresh_token_that_comes_again_ends_its_session() {
    let (store, _database) = founded().await;
    user(&store, "ann", &[("default", Role::ReadOnly)]).await;
    session(&store, "x", "wrong", "r0", 0).await;
    session(&store, "s", "$argon2id$", "r1", 0).await;
    let caller = store.caller_of_session("s", 1).await.expect("read").expect("the caller");
    assert_eq!((caller.role_in("default"), caller.home.as_str()), (Some(Role::ReadOnly), "default"));
    let refresh = |shown: &'static str, next: &'static str, now| store.refresh_session(shown, next, 10, now);
    assert!(matches!(refresh("r1", "r2", 5).await, Ok(Refreshed::Session(_))));
    assert!(matches!(refresh("r1", "r3", 15).await, Ok(Refreshed::Session(_))), "a tab that asked at the same time");
    assert!(matches!(refresh("r2", "r4", 16).await, Ok(Refreshed::Session(_))));
    assert!(store.caller_of_session("s", 16).await.expect("read").is_some());
    assert!(matches!(refresh("r1", "r5", 16).await, Ok(Refreshed::Reused(_))));
    assert!(matches!(refresh("r4", "r6", 17).await, Ok(Refreshed::Nothing)), "the thief's or the user's: both are out");
    assert!(store.caller_of_session("s", 17).await.expect("read").is_none());
    session(&store, "t", "$argon2id$", "q1", 20).await;
    assert!(matches!(refresh("q1", "q2", 1_000).await, Ok(Refreshed::Nothing)), "a session ends whatever is refreshed");
    session(&store, "u", "$argon2id$", "p1", 30).await;
    store.set_password("ann", "another", 40).await.expect("set");
    assert!(matches!(refresh("p1", "p2", 41).await, Ok(Refreshed::Nothing)), "another password ends all sessions");
    assert_eq!(store.forget_sessions(40).await.expect("forgotten"), 1, "the one that ended before");
    assert_eq!(store.forget_sessions(2_000).await.expect("forgotten"), 2);
}

fn done(id: &str, organization: Option<&str>) -> AuditEntry {
    AuditEntry {
        id: id.to_owned(),
        caller: "token".to_owned(),
        caller_name: "test".to_owned(),
        action: "project.create".to_owned(),
        organization_id: organization.map(str::to_owned),
        project_id: None,
        detail: "{}".to_owned(),
    }
}

#[tokio::test]
async fn the_audit_log_shows_a_line_that_was_changed_or_taken() {
    let (store, database) = founded().await;
    for number in 0..5_i64 {
        store.audit(&done(&number.to_string(), (number % 2 == 0).then_some("default")), number).await.expect("kept");
    }
    assert!(store.audit(&done("1", None), 9).await.is_err(), "an id is there once");
    let Chain::Whole { lines: 5, head } = store.audit_chain().await.expect("walked") else { panic!("it is whole") };
    let filter = AuditFilter { organization_id: Some("default".to_owned()), before: Some(5), limit: 10, ..Default::default() };
    let lines = store.audit_lines(&filter).await.expect("read");
    assert_eq!(lines.iter().map(|line| line.position).collect::<Vec<_>>(), [3, 1]);
    // Lines from before there was a chain get their place when the daemon starts.
    let raw = sqlx::AnyPool::connect(&database.url).await.expect("connected");
    let run = |sql: &'static str| sqlx::query(sql).execute(&raw);
    run("INSERT INTO audit (id, at, caller, action, detail) VALUES ('b', 2, 'x', 'y', '{}'), ('a', 2, 'x', 'y', '{}')")
        .await
        .expect("put");
    assert_eq!(store.audit_chain().await.expect("walked"), Chain::Whole { lines: 5, head });
    store.chain_audit().await.expect("chained");
    assert!(matches!(store.audit_chain().await.expect("walked"), Chain::Whole { lines: 7, .. }));
    assert_eq!(store.audit_lines(&AuditFilter { limit: 1, ..Default::default() }).await.expect("read")[0].entry.id, "b");
    run("UPDATE audit SET detail = '{\"x\": 1}' WHERE position = 3").await.expect("changed");
    assert_eq!(store.audit_chain().await.expect("walked"), Chain::Broken(3));
    run("UPDATE audit SET detail = '{}' WHERE position = 3").await.expect("changed back");
    run("DELETE FROM audit WHERE position = 2").await.expect("taken");
    assert_eq!(store.audit_chain().await.expect("walked"), Chain::Broken(2));
}
