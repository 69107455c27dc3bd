//! A founded store and what to put into it.

use supamanager::domain::{
    Caller, InstallationId, OperationId, OperationKind, ProjectRef, ProjectStatus, Proof, Role, Scope, UnixMillis,
};
use supamanager::store::{Clash, NewOperation, NewProject, Standing, Store, StoreError, Token};
use supamanager_tests::databases::TestDatabase;

/// A store with a region and a token.
pub async fn founded() -> (Store, TestDatabase) {
    let database = TestDatabase::chosen();
    let store = Store::open(&database.url).await.expect("a store");
    found(&store).await;
    (store, database)
}

/// A token of the organisation `default`, or of a user.
pub fn token(id: &str, user_id: Option<&str>, expires_at: Option<UnixMillis>) -> Token {
    Token {
        id: id.to_owned(),
        name: id.to_owned(),
        user_id: user_id.map(str::to_owned),
        organization_id: "default".to_owned(),
        hint: String::new(),
        scope: Scope::default(),
        created_at: 1,
        expires_at,
        last_used_at: None,
        revoked_at: None,
    }
}

/// Whoever owns an organisation and nothing else.
pub fn owner_of(organization: &str) -> Caller {
    Caller {
        id: "token".to_owned(),
        name: "test".to_owned(),
        proof: Proof::Token,
        user_id: None,
        home: organization.to_owned(),
        organizations: [(organization.to_owned(), Role::Owner)].into(),
        projects: Default::default(),
        scope: Scope::default(),
    }
}

pub fn clash(error: &StoreError) -> Option<Clash> {
    match error {
        StoreError::Clash(clash) => Some(*clash),
        _ => None,
    }
}

pub async fn found(store: &Store) {
    let id = InstallationId::parse(&"0".repeat(32)).expect("an id");
    store.found(&id, "key", &["here".to_owned()], 1).await.expect("it is founded");
    store.insert_token(&token("token", None, None), "hash").await.expect("a token");
}

/// The project of this number: its ports are 2n and 2n + 1 above 20000, its subnet 10.0.n.0/27.
pub fn project(number: u16) -> NewProject {
    NewProject {
        id: project_ref(number),
        name: format!("project {number}"),
        organization_id: "default".to_owned(),
        region: "here".to_owned(),
        template_set: "set".to_owned(),
        image_set: "images".to_owned(),
        without: Vec::new(),
        plugins: Default::default(),
        resources: Default::default(),
        ports: vec![("api".to_owned(), 20_000 + 2 * number), ("db".to_owned(), 20_001 + 2 * number)],
        subnet: format!("10.0.{number}.0/27"),
        secrets: vec![("jwt".to_owned(), vec![0, 1, 0xff, 0]), ("anon".to_owned(), Vec::new())],
        key_id: "key".to_owned(),
        caller: "token".to_owned(),
        idempotency: None,
    }
}

pub fn project_ref(number: u16) -> ProjectRef {
    let letter = |digit: u16| char::from(b'a' + u8::try_from(digit % 26).expect("a letter"));
    let id: String = (0..20).map(|place| letter(number / 26_u16.pow(u32::from(place == 0)))).collect();
    ProjectRef::parse(&id).expect("a ref")
}

pub fn operation(number: u64, project: u16, kind: OperationKind) -> NewOperation {
    NewOperation {
        id: operation_id(number),
        project: project_ref(project),
        kind,
        generation: 1,
        services: vec!["db".to_owned()],
        update: None,
        requested_by: "token".to_owned(),
        plugins: vec![("render".to_owned(), "sha256:1".to_owned())],
        deadline_at: 1_000,
    }
}

pub fn operation_id(number: u64) -> OperationId {
    OperationId::parse(&format!("op_{number:024x}")).expect("an id")
}

/// A move of an active project.
pub fn standing(status: ProjectStatus) -> Standing<'static> {
    Standing { status, reason: "db: it says no", event: "{}".to_owned() }
}

/// A store with project 0 in the midst of operation 0, a create.
pub async fn creating() -> (Store, TestDatabase) {
    let (store, database) = founded().await;
    let new = operation(0, 0, OperationKind::Create);
    store.accept_create(&project(0), &new, 2).await.expect("accepted");
    (store, database)
}
