//! The Management API (`/v1`): every answer has the shape that the contract has for it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use supamanager::http::MANAGEMENT;

use crate::people::joined;
use crate::world::{Answer, Api, Daemon, Options, root};

/// What the contract has of an operation.
struct Operation {
    method: String,
    path: String,
    status: u64,
    schema: Option<Value>,
}

/// The operations of the Management API in the contract's index.
fn contract() -> BTreeMap<String, Operation> {
    let folder = root().join("tests/contract/studio-schemas");
    let read = |name: &str| -> Value {
        let text = std::fs::read_to_string(folder.join(name)).expect("a file of the contract");
        serde_json::from_str(&text).expect("JSON")
    };
    let index = read("index.json");
    let operations = index["operations"].as_array().expect("operations").iter().filter(|one| one["tier"] == "v1");
    let one = |operation: &Value| {
        let text = |key: &str| operation[key].as_str().expect("text").to_owned();
        let schema = operation["response_schema"].as_str().map(&read);
        let status = operation["status"].as_u64().expect("a status");
        (text("operation_id"), Operation { method: text("method"), path: text("path"), status, schema })
    };
    operations.map(one).collect()
}

/// Calls operations and holds their answers against the contract.
struct Caller<'a> {
    api: &'a Api,
    contract: BTreeMap<String, Operation>,
    seen: BTreeSet<String>,
}

impl Caller<'_> {
    async fn call(&mut self, id: &str, names: &[(&str, &str)], query: &str, body: Option<Value>) -> Value {
        let operation = self.contract.get(id).unwrap_or_else(|| panic!("{id} is in the contract"));
        let path = names.iter().fold(operation.path.clone(), |path, (name, value)| path.replace(&format!("{{{name}}}"), value));
        let method = Method::from_bytes(operation.method.as_bytes()).expect("a method");
        let answer = self.api.call(method, &format!("{path}{query}"), body, &[]).await;
        assert_eq!(u64::from(answer.status), operation.status, "{id}: {}", answer.body);
        match &operation.schema {
            Some(schema) => {
                let validator = jsonschema::draft202012::new(schema).expect("a schema");
                let faults: Vec<String> =
                    validator.iter_errors(&answer.body).map(|fault| format!("{}: {fault}", fault.instance_path())).collect();
                assert!(faults.is_empty(), "{id}: {faults:?}\n{:#}", answer.body);
            }
            None => assert_eq!(answer.body, "", "{id} has no body"),
        }
        self.seen.insert(id.to_owned());
        answer.body
    }
}

#[tokio::test]
async fn every_answer_has_the_shape_of_the_contract() {
    let daemon = Daemon::ready("management", Options::tiny()).await;
    let owner = joined(&daemon.api, "default", "ann@example.org", "owner").await;
    let mut v1 = Caller { api: &owner, contract: contract(), seen: BTreeSet::new() };
    let made = v1.call("v1-create-an-organization", &[], "", Some(json!({"name": "Acme"}))).await;
    let slug = made["slug"].as_str().expect("a slug").to_owned();
    let in_acme = [("slug", slug.as_str())];
    assert_eq!(v1.call("v1-list-all-organizations", &[], "", None).await.as_array().map(Vec::len), Some(2));
    assert_eq!(v1.call("v1-get-an-organization", &in_acme, "", None).await["name"], "Acme");
    let members = v1.call("v1-list-organization-members", &in_acme, "", None).await;
    assert_eq!((&members[0]["email"], &members[0]["role_name"]), (&json!("ann@example.org"), &json!("Owner")));
    assert_eq!(v1.call("v1-get-profile", &[], "", None).await["primary_email"], "ann@example.org");

    // As the official command line sends it.
    let body = json!({"name": "First", "organization_slug": slug, "db_pass": "any 'characters\"", "region": "eu-central-1"});
    let created = v1.call("v1-create-a-project", &[], "", Some(body)).await;
    assert_eq!((&created["status"], &created["region"]), (&json!("COMING_UP"), &json!("us-east")));
    let id = created["ref"].as_str().expect("a ref").to_owned();
    let project = [("ref", id.as_str())];
    owner.settled(&id, &["ACTIVE_HEALTHY"], Duration::from_secs(60)).await;
    assert_eq!(v1.call("v1-list-all-projects", &[], "", None).await[0]["status"], "ACTIVE_HEALTHY");
    assert_eq!(v1.call("v1-get-project", &project, "", None).await["name"], "First");
    let renamed = v1.call("v1-update-a-project", &project, "", Some(json!({"name": "Second"}))).await;
    assert_eq!((&renamed["name"], &renamed["id"]), (&json!("Second"), &json!(1)));
    let health = v1.call("v1-get-services-health", &project, "?services=db,pooler", None).await;
    assert_eq!(health.as_array().map(Vec::len), Some(2));
    let hidden = v1.call("v1-get-project-api-keys", &project, "", None).await;
    assert_eq!((&hidden[0]["name"], &hidden[0]["api_key"]), (&json!("anon"), &Value::Null));
    let shown = v1.call("v1-get-project-api-keys", &project, "?reveal=true", None).await;
    let keys = owner.get(&format!("/platform/projects/{id}/credentials")).await.body;
    assert_eq!(shown[0]["api_key"], keys["api_keys"]["anon"]);
    let key = [("ref", id.as_str()), ("id", "anon")];
    assert_eq!(v1.call("v1-get-project-api-key", &key, "?reveal=true", None).await["api_key"], shown[0]["api_key"]);
    assert_eq!(v1.call("v1-get-project-legacy-api-keys", &project, "", None).await["enabled"], true);
    v1.call("v1-update-project-legacy-api-keys", &project, "?enabled=true", None).await;

    v1.call("v1-pause-a-project", &project, "", None).await;
    assert_eq!(owner.get(&format!("/v1/projects/{id}")).await.body["status"], "PAUSING");
    owner.settled(&id, &["PAUSED"], Duration::from_secs(60)).await;
    assert_eq!(v1.call("v1-get-project", &project, "", None).await["status"], "INACTIVE");
    v1.call("v1-list-available-restore-versions", &project, "", None).await;
    v1.call("v1-restore-a-project", &project, "", None).await;
    owner.settled(&id, &["ACTIVE_HEALTHY"], Duration::from_secs(60)).await;
    assert_eq!(v1.call("v1-delete-a-project", &project, "", None).await["name"], "Second");
    owner.settled(&id, &["DELETED"], Duration::from_secs(60)).await;
    assert_eq!(owner.get(&format!("/v1/projects/{id}")).await.status, 404);
    assert_eq!(owner.get("/v1/projects").await.body, json!([]));

    let answers: Vec<Answer> = vec![
        owner.get(&format!("/v1/projects/{id}/functions")).await,
        owner.get("/v1/snippets").await,
        owner.call(Method::POST, &format!("/v1/projects/{id}/database/query"), Some(json!({"query": "select 1"})), &[]).await,
    ];
    for answer in answers {
        assert_eq!((answer.status, answer.body["code"].as_str()), (501, Some("not_served")), "{}", answer.body);
        assert!(answer.body["message"].as_str().is_some_and(|message| message.contains("not served")), "{}", answer.body);
    }
    assert_eq!(owner.get("/v1/nothing").await.status, 404);
    let unseen: Vec<&String> = v1.contract.keys().filter(|id| !v1.seen.contains(*id)).collect();
    println!(
        "management: {} operations of the contract answer in its shape, {} are not served: {unseen:?}",
        v1.seen.len(),
        unseen.len()
    );
    assert!(v1.seen.len() >= 18, "only {}", v1.seen.len());
    daemon.finish();
}

#[test]
fn every_route_is_one_of_the_contract() {
    let same =
        |path: &str| path.replace("{id}/api-keys/{key}", "{ref}/api-keys/{id}").replace("/projects/{id}", "/projects/{ref}");
    let contract: BTreeSet<(String, String)> =
        contract().into_values().map(|one| (one.method.to_lowercase(), one.path)).collect();
    for route in MANAGEMENT {
        assert!(contract.contains(&(route.method.to_owned(), same(route.path))), "{} {}", route.method, route.path);
    }
}
