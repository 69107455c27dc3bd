//! Users, roles, tokens and sessions on the wire, and who may call what.

mod matrix;

use reqwest::Method;
use serde_json::{Value, json};

use crate::world::{Answer, Api, Daemon, Options};

const PASSWORD: &str = "a long enough one";

/// Invites somebody into an organisation and signs them in.
pub async fn joined(owner: &Api, organization: &str, email: &str, role: &str) -> Api {
    let path = format!("/platform/organizations/{organization}/invitations");
    let invited = owner.post(&path, json!({"email": email, "role": role})).await;
    assert_eq!(invited.status, 201, "{}", invited.body);
    let nobody = Api::new(&owner.url, "");
    let taken = json!({"secret": invited.body["secret"], "password": PASSWORD});
    let taken = nobody.post("/platform/invitations/accept", taken).await;
    assert_eq!(taken.status, 201, "{}", taken.body);
    let session = signed_in(&nobody, email, PASSWORD).await;
    Api::new(&owner.url, session.body["access_token"].as_str().expect("a token"))
}

async fn signed_in(api: &Api, email: &str, password: &str) -> Answer {
    api.post("/platform/sessions", json!({"email": email, "password": password})).await
}

fn code(answer: &Answer) -> (u16, &str) {
    (answer.status, answer.body["code"].as_str().unwrap_or_default())
}

#[tokio::test]
async fn somebody_is_invited_signs_in_and_makes_a_token() {
    let daemon = Daemon::ready("people", Options::tiny()).await;
    let owner = &daemon.api;
    let ann = joined(owner, "default", "Ann@Example.org", "developer").await;
    let me = ann.get("/platform/me").await.body;
    assert_eq!(me["user"]["email"], "ann@example.org");
    assert_eq!(me["organizations"], json!([{"organization_id": "default", "role": "developer"}]));
    let create = |api: Api| async move { api.post("/platform/projects", json!({"name": "x"})).await };
    assert_eq!(code(&create(ann.clone()).await), (403, "role_too_low"));

    // A token may less than its user, never more, and makes no others.
    let made = ann.post("/platform/tokens", json!({"name": "ci", "role": "read-only", "expires_in": 3600})).await;
    assert_eq!(made.status, 201, "{}", made.body);
    let token = Api::new(&owner.url, made.body["access_token"].as_str().expect("the token"));
    assert_eq!(token.get("/platform/me").await.body["organizations"][0]["role"], "read-only");
    assert_eq!(code(&token.post("/platform/tokens", json!({"name": "more"})).await), (403, "session_needed"));
    assert_eq!(code(&token.get("/platform/tokens").await), (403, "scope"));
    assert_eq!(ann.post("/platform/tokens", json!({"name": "none", "projects": []})).await.body["field"], "projects");
    let listed = ann.get("/platform/tokens").await.body;
    let hint = listed["tokens"][0]["hint"].as_str().expect("a hint");
    assert!(token.token.starts_with(&hint[..8]) && token.token.ends_with(&hint[hint.len() - 4..]), "{hint}");
    let revoke = format!("/platform/tokens/{}", made.body["id"].as_str().expect("an id"));
    assert_eq!(owner.call(Method::DELETE, &revoke, None, &[]).await.status, 409, "it is nobody's token and has none");
    assert_eq!(ann.call(Method::DELETE, &revoke, None, &[]).await.status, 204);
    assert_eq!(code(&token.get("/platform/me").await), (401, "unknown_token"));

    // Whoever is in two organisations sees what is in both, and only an owner reads what was done.
    let made = ann.post("/platform/organizations", json!({"name": "Acme", "slug": "acme"})).await;
    assert_eq!((made.status, &made.body["role"]), (201, &json!("owner")), "{}", made.body);
    assert_eq!(ann.get("/platform/organizations").await.body["organizations"].as_array().map(Vec::len), Some(2));
    assert_eq!(owner.get("/platform/organizations/acme").await.status, 404, "what is not yours is not there");
    assert_eq!(code(&ann.get("/platform/audit?organization_id=default").await), (403, "role_too_low"));
    let lines = ann.get("/platform/audit?organization_id=acme").await.body["lines"].clone();
    assert_eq!((&lines[0]["action"], &lines[0]["caller_name"]), (&json!("organization.create"), &json!("ann@example.org")));
    assert_eq!(code(&ann.get("/platform/audit?organization_id=acme&verify=true").await), (403, "operator_only"));
    let all = owner.get("/platform/audit?verify=true").await.body;
    assert_eq!(all["chain"]["whole"], true, "{all:#}");
    assert_eq!(all["lines"][0]["hash"], all["chain"]["head"]);
    let actions: Vec<&str> = all["lines"].as_array().expect("lines").iter().filter_map(|line| line["action"].as_str()).collect();
    for action in ["member.invite", "member.join", "session.begin", "token.create", "token.revoke", "organization.create"] {
        assert!(actions.contains(&action), "{action} is not in {actions:?}");
    }
    assert_eq!(ann.call(Method::DELETE, "/platform/organizations/acme", None, &[]).await.status, 204);
    assert_eq!(ann.get("/platform/organizations/acme").await.status, 404);
    daemon.finish();
}

#[tokio::test]
async fn the_link_of_the_first_start_makes_one_owner() {
    let daemon = Daemon::ready("setup", Options::tiny()).await;
    let log = daemon.log();
    let token =
        log.split("/setup?token=").nth(1).expect("a link").chars().take_while(char::is_ascii_hexdigit).collect::<String>();
    let client = supamanager::web::plain().build().expect("a client");
    let page = |token: String| client.get(format!("{}/setup?token={token}", daemon.api.url)).send();
    assert_eq!(page("0".repeat(40)).await.expect("an answer").status(), 401);
    let form = page(token.clone()).await.expect("an answer");
    assert_eq!(form.status(), 200);
    assert!(form.text().await.expect("a page").contains("<form method=post"));
    let post = |password: &str| {
        let body = format!("token={token}&email=first%40example.org&password={password}");
        let request =
            client.post(format!("{}/setup", daemon.api.url)).header("content-type", "application/x-www-form-urlencoded");
        request.body(body).send()
    };
    assert_eq!(post("short").await.expect("an answer").status(), 400, "the link is still good");
    assert_eq!(post("long+enough+now").await.expect("an answer").status(), 201);
    assert_eq!(post("long+enough+now").await.expect("an answer").status(), 409);
    assert_eq!(page(token.clone()).await.expect("an answer").status(), 409);
    let nobody = Api::new(&daemon.api.url, "");
    let session = signed_in(&nobody, "first@example.org", "long enough now").await.body;
    let owner = Api::new(&daemon.api.url, session["access_token"].as_str().expect("a token"));
    assert_eq!(owner.get("/platform/me").await.body["organizations"], json!([{"organization_id": "default", "role": "owner"}]));
    daemon.finish();
}

#[tokio::test]
async fn nobody_gives_or_takes_more_than_they_have() {
    let daemon = Daemon::ready("roles", Options::tiny()).await;
    let owner = &daemon.api;
    let boss = joined(owner, "default", "boss@example.org", "owner").await;
    let admin = joined(owner, "default", "admin@example.org", "administrator").await;
    let dev = joined(owner, "default", "dev@example.org", "developer").await;
    let members = owner.get("/platform/organizations/default/members").await.body;
    let id = |email: &str| {
        let all = members["members"].as_array().expect("members");
        let found = all.iter().find(|member| member["user"]["email"] == email).expect("the member");
        found["user"]["id"].as_str().expect("an id").to_owned()
    };
    let member = |email: &str| format!("/platform/organizations/default/members/{}", id(email));
    let put = |api: &Api, email: &str, role: &str| {
        let (api, path, body) = (api.clone(), member(email), json!({"role": role}));
        async move { api.call(Method::PUT, &path, Some(body), &[]).await }
    };
    assert_eq!(code(&put(&admin, "dev@example.org", "owner").await), (403, "role_too_low"));
    assert_eq!(code(&put(&admin, "boss@example.org", "read-only").await), (403, "role_too_low"));
    assert_eq!(code(&put(&dev, "dev@example.org", "administrator").await), (403, "role_too_low"));
    assert_eq!(put(&admin, "dev@example.org", "chief").await.body["field"], "role");
    assert_eq!(put(&admin, "dev@example.org", "read-only").await.status, 204);
    assert_eq!(dev.get("/platform/me").await.body["organizations"][0]["role"], "read-only", "at once");
    let invite = json!({"email": "new@example.org", "role": "owner"});
    assert_eq!(code(&admin.post("/platform/organizations/default/invitations", invite).await), (403, "role_too_low"));
    assert_eq!(code(&put(&boss, "boss@example.org", "developer").await), (409, "refused"), "the last owner");
    assert_eq!(boss.call(Method::DELETE, &member("boss@example.org"), None, &[]).await.status, 409);
    assert_eq!(admin.call(Method::DELETE, &member("dev@example.org"), None, &[]).await.status, 204);
    assert_eq!(dev.get("/platform/organizations/default").await.status, 404, "gone at once, with the session still good");
    assert_eq!(dev.get("/platform/me").await.body["organizations"], json!([]));
    daemon.finish();
}

#[tokio::test]
async fn a_session_is_refreshed_once_and_ends() {
    let daemon = Daemon::ready("sessions", Options::tiny().set("SUPAMANAGER_PEOPLE_TRIES_PER_MINUTE", "5")).await;
    let nobody = Api::new(&daemon.api.url, "");
    joined(&daemon.api, "default", "ann@example.org", "owner").await;
    let wrong = signed_in(&nobody, "ann@example.org", "not this one").await;
    let unknown = signed_in(&nobody, "bob@example.org", "not this one").await;
    assert_eq!((code(&wrong), &wrong.body), ((401, "wrong_password"), &unknown.body), "nobody learns who has an account");
    let session = signed_in(&nobody, "ANN@example.org", PASSWORD).await.body;
    let bearer = |session: &Value| Api::new(&daemon.api.url, session["access_token"].as_str().expect("a token"));
    let refresh = |session: &Value| {
        let (api, body) = (nobody.clone(), json!({"refresh_token": session["refresh_token"]}));
        async move { api.post("/platform/sessions/refresh", body).await }
    };
    let next = refresh(&session).await;
    assert_eq!(next.status, 200, "{}", next.body);
    assert_ne!(next.body["refresh_token"], session["refresh_token"], "it rotates");
    assert_eq!(bearer(&next.body).get("/platform/me").await.status, 200);
    assert_eq!(code(&refresh(&json!({"refresh_token": "x"})).await), (401, "unknown_token"));
    let forged = bearer(&session);
    let forged = Api::new(&forged.url, &format!("{}x", forged.token));
    assert_eq!(code(&forged.get("/platform/me").await), (401, "unknown_token"));
    assert_eq!(bearer(&session).call(Method::DELETE, "/platform/sessions", None, &[]).await.status, 204);
    assert_eq!(
        code(&bearer(&next.body).get("/platform/me").await),
        (401, "unknown_token"),
        "the session is one, whatever its token"
    );
    assert_eq!(refresh(&next.body).await.status, 401);
    let tries = futures_util::future::join_all((0..6).map(|_| signed_in(&nobody, "ann@example.org", "guess"))).await;
    let late = tries.iter().find(|answer| answer.status == 429).expect("tries are counted");
    assert_eq!(code(late), (429, "too_many_tries"));

    // An owner who forgot their password is helped on the machine.
    let given = daemon
        .binary()
        .args(["user", "password", "--email", "ann@example.org"])
        .env("SUPAMANAGER_USER_PASSWORD", "another one")
        .output();
    assert!(given.expect("the binary").status.success());
    assert!(daemon.command(&["user", "list"]).contains("ann@example.org"));
    let listed = daemon.command(&["token", "list"]);
    let id = listed.lines().find(|line| line.contains("owns default")).and_then(|line| line.split_whitespace().next());
    daemon.command(&["token", "revoke", id.expect("an id")]);
    assert_eq!(code(&daemon.api.get("/platform/me").await), (401, "unknown_token"));
    daemon.finish();
}
