//! Every route x every role x own, foreign and no organisation. The routes come from the router; who may call each is said
//! here once more, by hand, so that a route that nobody thought about fails, and one that was opened by mistake too.

use std::collections::BTreeMap;

use reqwest::Method;
use serde_json::{Value, json};
use supamanager::domain::Role;
use supamanager::http::{MANAGEMENT, NATIVE};

use super::joined;
use crate::world::{Answer, Api, Daemon, Options};

/// Who may.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum May {
    /// Whoever reaches the port.
    Anybody,
    /// Whoever is known, with an answer of their own.
    Known,
    /// From this role in the first organisation; nobody else.
    Operator(Role),
    /// From this role where the thing is; elsewhere it is not there.
    Here(Role),
}

use May::{Anybody, Here, Known, Operator};
use Role::{Administrator, Developer, Owner, ReadOnly};

const MATRIX: &[(&str, &str, May)] = &[
    ("get", "/healthz", Anybody),
    ("get", "/readyz", Anybody),
    ("get", "/openapi.json", Anybody),
    ("get", "/setup", Anybody),
    ("post", "/setup", Anybody),
    ("get", "/metrics", Operator(ReadOnly)),
    ("get", "/platform/projects", Known),
    ("post", "/platform/projects", Here(Administrator)),
    ("get", "/platform/projects/{id}", Here(ReadOnly)),
    ("patch", "/platform/projects/{id}", Here(Administrator)),
    ("delete", "/platform/projects/{id}", Here(Administrator)),
    ("post", "/platform/projects/{id}/pause", Here(Administrator)),
    ("post", "/platform/projects/{id}/resume", Here(Administrator)),
    ("post", "/platform/projects/{id}/restart", Here(Developer)),
    ("post", "/platform/projects/{id}/cancel", Here(Administrator)),
    ("post", "/platform/projects/{id}/retry", Here(Administrator)),
    ("post", "/platform/projects/{id}/apply", Here(Administrator)),
    ("post", "/platform/projects/{id}/force", Here(Administrator)),
    ("get", "/platform/projects/{id}/credentials", Here(Owner)),
    ("get", "/platform/projects/{id}/health", Here(ReadOnly)),
    ("get", "/platform/projects/{id}/resources", Here(ReadOnly)),
    ("get", "/platform/projects/{id}/usage", Here(ReadOnly)),
    ("get", "/platform/projects/{id}/logs", Here(ReadOnly)),
    ("post", "/platform/projects/{id}/exec", Here(Owner)),
    ("get", "/platform/projects/{id}/events", Here(ReadOnly)),
    ("get", "/platform/projects/{id}/operations", Here(ReadOnly)),
    ("put", "/platform/projects/{id}/members/{user}", Here(Administrator)),
    ("delete", "/platform/projects/{id}/members/{user}", Here(Administrator)),
    ("get", "/platform/operations/{operation}", Here(ReadOnly)),
    ("get", "/platform/lost-projects", Operator(Administrator)),
    ("delete", "/platform/lost-projects/{id}", Operator(Administrator)),
    ("post", "/platform/lost-projects/{id}/adopt", Operator(Administrator)),
    ("get", "/platform/notifications", Known),
    ("get", "/platform/regions", Known),
    ("get", "/platform/plugins", Known),
    ("get", "/platform/plugins/{name}", Known),
    ("post", "/platform/plugins/reload", Operator(Owner)),
    ("get", "/platform/plugins/grants", Operator(Owner)),
    ("put", "/platform/plugins/{name}/grant", Operator(Owner)),
    ("delete", "/platform/plugins/{name}/grant", Operator(Owner)),
    ("get", "/platform/plugins/{name}/trial", Operator(Owner)),
    ("post", "/platform/plugins/{name}/trial", Operator(Owner)),
    ("put", "/platform/plugins/{name}/trial", Operator(Owner)),
    ("delete", "/platform/plugins/{name}/trial", Operator(Owner)),
    ("post", "/platform/plugins/{name}/promote", Operator(Owner)),
    ("post", "/platform/plugins/{name}/rollback", Operator(Owner)),
    ("post", "/platform/sessions", Anybody),
    ("delete", "/platform/sessions", Known),
    ("post", "/platform/sessions/refresh", Anybody),
    ("get", "/platform/me", Known),
    ("get", "/platform/tokens", Known),
    ("post", "/platform/tokens", Known),
    ("delete", "/platform/tokens/{token}", Known),
    ("get", "/platform/organizations", Known),
    ("post", "/platform/organizations", Known),
    ("get", "/platform/organizations/{slug}", Here(ReadOnly)),
    ("patch", "/platform/organizations/{slug}", Here(Owner)),
    ("get", "/platform/organizations/{slug}/members", Here(ReadOnly)),
    ("put", "/platform/organizations/{slug}/members/{user}", Here(Administrator)),
    ("delete", "/platform/organizations/{slug}/members/{user}", Here(Administrator)),
    ("get", "/platform/organizations/{slug}/invitations", Here(Administrator)),
    ("post", "/platform/organizations/{slug}/invitations", Here(Administrator)),
    ("delete", "/platform/organizations/{slug}/invitations/{invitation}", Here(Administrator)),
    ("post", "/platform/invitations/accept", Anybody),
    ("get", "/platform/audit", Here(Owner)),
    ("get", "/v1/profile", Known),
    ("get", "/v1/organizations", Known),
    ("post", "/v1/organizations", Known),
    ("get", "/v1/organizations/{slug}", Here(ReadOnly)),
    ("get", "/v1/organizations/{slug}/members", Here(ReadOnly)),
    ("get", "/v1/projects", Known),
    ("post", "/v1/projects", Here(Administrator)),
    ("get", "/v1/projects/{id}", Here(ReadOnly)),
    ("patch", "/v1/projects/{id}", Here(Administrator)),
    ("delete", "/v1/projects/{id}", Here(Administrator)),
    ("get", "/v1/projects/{id}/health", Here(ReadOnly)),
    ("post", "/v1/projects/{id}/pause", Here(Administrator)),
    ("get", "/v1/projects/{id}/restore", Here(ReadOnly)),
    ("post", "/v1/projects/{id}/restore", Here(Administrator)),
    ("post", "/v1/projects/{id}/restore/cancel", Here(Administrator)),
    ("get", "/v1/projects/{id}/api-keys", Here(Developer)),
    ("post", "/v1/projects/{id}/api-keys", Here(Administrator)),
    ("get", "/v1/projects/{id}/api-keys/legacy", Here(ReadOnly)),
    ("put", "/v1/projects/{id}/api-keys/legacy", Here(Administrator)),
    ("get", "/v1/projects/{id}/api-keys/{key}", Here(Developer)),
    ("patch", "/v1/projects/{id}/api-keys/{key}", Here(Administrator)),
    ("delete", "/v1/projects/{id}/api-keys/{key}", Here(Administrator)),
    // Last: an owner of the second organisation deletes it.
    ("delete", "/platform/organizations/{slug}", Here(Owner)),
];

/// What an organisation has that paths and bodies name. The project is deleted: it is looked at as before, and nothing
/// can be done with it any more.
struct Place {
    slug: &'static str,
    project: String,
    operation: String,
}

impl Place {
    async fn of(owner: &Api, slug: &'static str) -> Self {
        let created = owner.create(json!({"name": slug, "organization_id": slug})).await;
        let project = created["id"].as_str().expect("an id").to_owned();
        owner.settled(&project, &["ACTIVE_HEALTHY"], std::time::Duration::from_secs(120)).await;
        owner.gone(&project).await;
        let operation = created["operation_id"].as_str().expect("an operation").to_owned();
        Self { slug, project, operation }
    }

    fn path(&self, route: &str) -> String {
        let names = [("{id}", self.project.as_str()), ("{slug}", self.slug), ("{operation}", &self.operation)];
        let mut path = names.into_iter().fold(route.to_owned(), |path, (name, value)| path.replace(name, value));
        for nobody in ["{user}", "{token}", "{name}", "{invitation}", "{key}"] {
            path = path.replace(nobody, "nobody");
        }
        if route == "/platform/audit" { format!("{path}?organization_id={}", self.slug) } else { path }
    }

    /// One that nothing comes of, but for the organisation that it names.
    fn body(&self, method: &str, route: &str) -> Option<Value> {
        match (method, route) {
            ("get", _) => None,
            ("post", "/v1/projects") => Some(json!({"name": "\t", "organization_slug": self.slug})),
            ("post", "/platform/projects") => Some(json!({"name": "x", "organization_id": self.slug, "region": "nowhere"})),
            _ => Some(json!({})),
        }
    }
}

/// A dialect to which a deleted project is not there, for whoever may see it too.
fn knows_no_deleted(route: &str) -> bool {
    route.starts_with("/v1/projects/{id}")
}

/// Whether the gate, or a handler in its place, said no: by status, and for 404 by what is said not to be there.
fn refused(answer: &Answer) -> bool {
    let message = answer.body["message"].as_str().unwrap_or_default();
    let hidden = ["project", "organisation", "operation", "lost project"]
        .iter()
        .any(|what| message.starts_with(&format!("there is no {what} `")));
    match answer.status {
        401 => true,
        403 => answer.body["code"] != "session_needed",
        404 | 422 => hidden,
        _ => false,
    }
}

/// Somebody's access token: a session would end at the call that ends it.
async fn with_token(session: Api) -> Api {
    let made = session.post("/platform/tokens", json!({"name": "matrix"})).await;
    assert_eq!(made.status, 201, "{}", made.body);
    Api::new(&session.url, made.body["access_token"].as_str().expect("the token"))
}

async fn asked(api: &Api, method: &str, route: &str, place: &Place) -> Answer {
    let name = Method::from_bytes(method.to_uppercase().as_bytes()).expect("a method");
    // A stream of events has no end: its head is enough.
    if route.ends_with("/events") {
        let client = supamanager::web::plain().build().expect("a client");
        let request = client.get(format!("{}{}", api.url, place.path(route))).bearer_auth(&api.token);
        let answer = request.send().await.expect("an answer");
        let status = answer.status().as_u16();
        let body = if status == 200 { Value::Null } else { answer.json().await.expect("a body") };
        return Answer { status, body, location: None };
    }
    api.call(name, &place.path(route), place.body(method, route), &[]).await
}

#[test]
fn every_route_has_a_line() {
    let lines: BTreeMap<(&str, &str), May> = MATRIX.iter().map(|(method, path, may)| ((*method, *path), *may)).collect();
    assert_eq!(lines.len(), MATRIX.len(), "a line is there twice");
    let all = || NATIVE.iter().chain(MANAGEMENT);
    let routes: BTreeMap<(&str, &str), ()> = all().map(|route| ((route.method, route.path), ())).collect();
    assert_eq!(routes.len(), all().count(), "a route is there twice");
    let without: Vec<_> = routes.keys().filter(|route| !lines.contains_key(*route)).collect();
    let gone: Vec<_> = lines.keys().filter(|line| !routes.contains_key(*line)).collect();
    assert!(without.is_empty() && gone.is_empty(), "routes without a line: {without:?}; lines without a route: {gone:?}");
}

#[tokio::test]
async fn every_role_may_what_it_may_and_no_more() {
    let daemon = Daemon::ready("matrix", Options::tiny().set("SUPAMANAGER_PEOPLE_TRIES_PER_MINUTE", "1000")).await;
    let first = &daemon.api;
    let founder = joined(first, "default", "founder@example.org", "read-only").await;
    let made = founder.post("/platform/organizations", json!({"name": "Acme", "slug": "acme"})).await;
    assert_eq!(made.status, 201, "{}", made.body);
    let (ours, theirs) = (Place::of(first, "default").await, Place::of(&founder, "acme").await);
    let mut people = Vec::new();
    for role in Role::ALL {
        let here = joined(first, "default", &format!("{}@default", role.as_str()), role.as_str()).await;
        let there = joined(&founder, "acme", &format!("{}@acme", role.as_str()), role.as_str()).await;
        people.push((role, with_token(here).await, with_token(there).await));
    }
    let nobody = Api::new(&first.url, "");
    let stranger = Api::new(&first.url, &format!("sbp_{}", "0".repeat(40)));
    let mut wrong = Vec::new();
    let mut calls = 0;
    for (method, route, may) in MATRIX {
        for api in [&nobody, &stranger] {
            let answer = asked(api, method, route, &ours).await;
            calls += 1;
            if refused(&answer) == (*may == Anybody) {
                wrong.push(format!("{method} {route} without a good token: {} {}", answer.status, answer.body));
            }
        }
        for (role, here, there) in &people {
            let own_in_first = asked(here, method, route, &ours).await;
            let own_elsewhere = asked(there, method, route, &theirs).await;
            let foreign = [asked(here, method, route, &theirs).await, asked(there, method, route, &ours).await];
            let (first, elsewhere, abroad) = match may {
                Anybody | Known => (true, true, true),
                Operator(least) => (role >= least, false, false),
                Here(least) => (role >= least, role >= least, false),
            };
            // An owner of the first organisation reads the log of all; what is the operator's is so from wherever it is asked.
            let all = matches!(may, Operator(_)) || *route == "/platform/audit";
            let answers = [(own_in_first, first), (own_elsewhere, elsewhere)].into_iter();
            let [from_here, from_there] = foreign;
            let answers = answers.chain([(from_here, abroad || all && first), (from_there, abroad)]);
            for (number, (answer, may)) in answers.enumerate() {
                calls += 1;
                let own = number < 2;
                let said_no = if knows_no_deleted(route) && own { answer.status == 403 } else { refused(&answer) };
                if said_no == may {
                    let place = ["own (default)", "own (acme)", "foreign (acme)", "foreign (default)"][number];
                    wrong.push(format!("{method} {route} as {} in {place}: {} {}", role.as_str(), answer.status, answer.body));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {calls} calls:\n{}", wrong.len(), wrong.join("\n"));
    println!("authorization: {} routes, {calls} calls", MATRIX.len());
    daemon.finish();
}
