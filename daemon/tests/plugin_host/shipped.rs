//! The shipped plugins, built, loaded from disk, and used as the daemon uses them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::json;
use supamanager::domain::{PluginChoices, ServiceName, ServiceState};
use supamanager::plugin_host::hooks::{AccessError, HookError, ProbeInput, ProbeReport, ServiceAccess};
use supamanager::plugin_host::{Hook, HostConfig, PluginHost};
use tokio::sync::OnceCell;

use crate::access::{Answer, Fake};
use crate::example::{example, example_of, plugins_dir, templates};
use crate::guests::Plugins;
use crate::{load, project, render_input, work_input};

/// Loaded once: compiling them takes longer than all that these tests do with them.
async fn shipped() -> &'static PluginHost {
    static SHIPPED: OnceCell<PluginHost> = OnceCell::const_new();
    let loaded = SHIPPED.get_or_init(|| async { load(&plugins_dir()).await.expect("the shipped plugins load") });
    loaded.await
}

#[tokio::test]
async fn they_load_with_the_imports_they_need_and_no_others() {
    let list = shipped().await.list();
    let seen: Vec<(String, Vec<&str>, Vec<&str>)> = (list.iter())
        .map(|plugin| {
            let hooks = plugin.hooks.iter().map(|hook| hook.hook.as_str()).collect();
            (plugin.name.clone(), hooks, plugin.imports.iter().map(|import| import.as_str()).collect())
        })
        .collect();
    assert_eq!(
        seen,
        [
            ("admit-naming".into(), vec!["admit"], vec!["log", "options"]),
            ("notify-webhook".into(), vec!["notify"], vec!["log", "options", "egress"]),
            ("post-create-buckets".into(), vec!["post-create"], vec!["log", "service-http", "progress", "options"]),
            ("post-create-sql".into(), vec!["post-create"], vec!["log", "sql", "progress"]),
            ("probe-service".into(), vec!["probe"], vec!["log", "service-http", "service-tcp", "db-login"]),
            ("probe-strict".into(), vec!["probe"], vec!["log", "service-http", "options"]),
            ("render-supabase".into(), vec!["render"], vec!["log", "templates"]),
        ]
    );
    assert!(list.iter().all(|plugin| plugin.digest.starts_with("sha256:") && plugin.size > 0 && !plugin.summary.is_empty()));
}

#[tokio::test]
async fn the_default_set_renders_with_references_and_without_a_value() {
    let host = shipped().await;
    let input = example();
    let wanted = input.files.clone();
    let files = host.render(&host.pins(&PluginChoices::default()), input).await.expect("it renders");
    let made: Vec<(&str, u32)> = files.iter().map(|file| (file.path.as_str(), file.mode)).collect();
    let expected: Vec<(&str, u32)> = wanted.iter().map(|(_, path, mode)| (path.as_str(), *mode)).collect();
    assert_eq!(made, expected);
    let compose = &files.iter().find(|file| file.path == "docker-compose.yml").expect("a compose file").content;
    assert!(compose.contains("${JWT_SECRET}") && compose.contains("io.supamanager.label.team"));
    let yaml: serde_json::Value = serde_saphyr::from_str(compose).expect("it is YAML");
    let prefix = "supamanager-abcdefghijklmnopqrst-";
    for (name, service) in yaml["services"].as_object().expect("services") {
        assert_eq!(service["container_name"], json!(format!("{prefix}{name}")));
    }
}

#[tokio::test]
async fn every_template_set_renders_with_every_image_set() {
    let host = shipped().await;
    let templates = templates();
    for set in templates.set_names() {
        let loaded = templates.set(&set).expect("a set");
        for name in templates.image_set_names() {
            let images = templates.images(&name).expect("an image set");
            let image = |key: &str| images.images.get(key).cloned().unwrap_or_else(|| panic!("{name} has no {key} for {set}"));
            let input = example_of(&loaded, image);
            let files = host
                .render(&host.pins(&PluginChoices::default()), input)
                .await
                .unwrap_or_else(|error| panic!("{set}, {name}: {error}"));
            assert_eq!(files.len(), loaded.spec.files.len(), "{set}, {name}");
            let file = files.iter().find(|file| file.path == "docker-compose.yml").expect("a compose file");
            let stack =
                supamanager::stack::compose::parse(&file.content).unwrap_or_else(|error| panic!("{set}, {name}: {error}"));
            assert_eq!(stack.services.len(), loaded.spec.services.len(), "{set}, {name}");
            for service in &loaded.spec.services {
                assert_eq!(stack.services[&service.name].image, image(&service.image), "{set}, {name}");
            }
        }
    }
}

#[tokio::test]
async fn a_change_in_a_template_is_a_change_in_the_file() {
    let host = shipped().await;
    let mut input = example();
    for text in input.templates.values_mut() {
        *text = text.replace("io.supamanager.label.", "org.example.label.");
    }
    let files = host.render(&host.pins(&PluginChoices::default()), input).await.expect("it renders");
    assert!(files.iter().any(|file| file.content.contains("org.example.label.team")));
}

#[tokio::test]
async fn a_wrong_template_is_refused_with_its_name_and_line() {
    let host = shipped().await;
    let mut input = example();
    let name = input.files[1].0.clone();
    input.templates.insert(name.clone(), "one: 1\ntwo: {{ project.nmae }}\n".to_owned());
    let error = host.render(&host.pins(&PluginChoices::default()), input).await.expect_err("it is refused");
    assert!(matches!(error, HookError::InvalidInput { .. }), "{error}");
    assert!(error.to_string().contains(&format!("{name}, line 2")), "{error}");

    let mut input = example();
    input.templates.remove(&name);
    let error = host.render(&host.pins(&PluginChoices::default()), input).await.expect_err("it is refused");
    assert!(error.to_string().contains(&name), "{error}");
}

#[tokio::test]
async fn without_a_renderer_nothing_is_made_and_the_code_says_so() {
    let empty = Plugins::new();
    let host = load(empty.folder()).await.expect("an empty folder is fine");
    assert!(
        host.list().is_empty() && host.pins(&PluginChoices::default()).is_empty() && !host.has_render(&PluginChoices::default())
    );
    let error = host.render(&host.pins(&PluginChoices::default()), render_input()).await.expect_err("nobody renders");
    assert_eq!(error.code(), "no_render_plugin");
    let probed = probe(&host, r#"{"kind":"tcp","port":1}"#, Fake::answering(Answer::Silence)).await;
    assert!(matches!(probed, Err(HookError::NoPlugin { hook: "probe" })));
    let workers = host.workers(Hook::PostCreate, &host.pins(&PluginChoices::default())).await;
    assert!(workers.expect("nothing to do").is_empty());
}

#[tokio::test]
async fn an_operation_keeps_the_code_it_began_with() {
    let host = shipped().await;
    let mut pins = host.pins(&PluginChoices::default());
    assert_eq!(pins.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["post-create-sql", "render-supabase"]);
    let (_, digest) = pins.iter_mut().find(|(name, _)| name == "render-supabase").expect("it is pinned");
    *digest = "sha256:0".to_owned();
    let error = host.render(&pins, render_input()).await.expect_err("another version is not the same");
    assert!(matches!(&error, HookError::PinMissing { plugin, .. } if plugin == "render-supabase"), "{error}");
    let other_hook = host.workers(Hook::PostCreate, &pins).await;
    assert!(other_hook.is_ok(), "the other hook's plugin is still the same");
}

async fn probe(host: &PluginHost, spec: &str, fake: Arc<Fake>) -> Result<ProbeReport, HookError> {
    let access: Arc<dyn ServiceAccess> = fake;
    let service = ServiceName::parse("realtime").expect("a service");
    host.probe(ProbeInput { project: project(), service, spec: spec.to_owned(), choices: PluginChoices::default() }, access).await
}

const TENANT: &str = r#"{"kind":"http","port":4000,"path":"/api/tenants/realtime-dev/health","status":[200],
    "headers":{"Authorization":"Bearer ${ANON_KEY}"},"json":{"pointer":"/data/healthy","equals":true}}"#;

#[tokio::test]
async fn an_http_probe_asks_as_its_table_says_and_never_sees_the_key() {
    let host = shipped().await;
    let fake = Fake::answering(Answer::Http(200, r#"{"data":{"healthy":true}}"#));
    let report = probe(host, TENANT, fake.clone()).await.expect("a report");
    assert_eq!((report.state, report.reason.as_str()), (ServiceState::Healthy, ""));
    assert_eq!(report.endpoint, "http://realtime:4000/api/tenants/realtime-dev/health");
    let asked = r#"GET realtime:4000/api/tenants/realtime-dev/health [("Authorization", "Bearer ${ANON_KEY}")]"#;
    assert_eq!(fake.asked(), [asked]);

    let sick = Fake::answering(Answer::Http(200, r#"{"data":{"healthy":false}}"#));
    let report = probe(host, TENANT, sick).await.expect("a report");
    assert_eq!(report.state, ServiceState::Unhealthy);
    assert!(report.reason.contains("`/data/healthy` is false"), "{}", report.reason);
}

#[tokio::test]
async fn nothing_listening_is_starting_and_everything_else_is_unhealthy() {
    let host = shipped().await;
    for (error, state) in [
        (AccessError::Refused("nothing listens".into()), ServiceState::Starting),
        (AccessError::TimedOut("no answer".into()), ServiceState::Unhealthy),
        (AccessError::Failed("it hung up".into()), ServiceState::Unhealthy),
    ] {
        for spec in [TENANT, r#"{"kind":"tcp","port":9}"#, r#"{"kind":"login","port":5432,"roles":["a","b"]}"#] {
            let fake = Fake::answering(Answer::Error(error.clone()));
            let report = probe(host, spec, fake).await.expect("a report");
            assert_eq!(report.state, state, "{spec}");
            assert!(report.reason.contains(&error.to_string()), "{}", report.reason);
        }
    }
    let denied = Fake::answering(Answer::Error(AccessError::Denied("no such reference".into())));
    assert!(matches!(probe(host, TENANT, denied).await, Err(HookError::Denied { .. })));
}

#[tokio::test]
async fn a_login_probe_lets_every_role_in() {
    let host = shipped().await;
    let fake = Fake::answering(Answer::Http(200, ""));
    let spec = r#"{"kind":"login","port":5432,"roles":["authenticator","supabase_admin"]}"#;
    let report = probe(host, spec, fake.clone()).await.expect("a report");
    assert_eq!((report.state, report.endpoint.as_str()), (ServiceState::Healthy, "postgres://realtime:5432"));
    assert_eq!(fake.asked(), ["login authenticator@realtime:5432", "login supabase_admin@realtime:5432"]);
}

#[tokio::test]
async fn every_probe_of_the_shipped_sets_is_understood() {
    let host = shipped().await;
    let templates = templates();
    let sets: Vec<_> = templates.set_names().iter().map(|name| templates.set(name).expect("a set")).collect();
    for service in sets.iter().flat_map(|set| &set.spec.services) {
        let spec = serde_json::to_string(&service.probe).expect("JSON");
        let fake = Fake::answering(Answer::Error(AccessError::Refused("not yet".into())));
        let report = probe(host, &spec, fake).await.expect("a report");
        assert_eq!(report.state, ServiceState::Starting, "{}", service.name);
    }
}

#[tokio::test]
async fn a_probe_that_nobody_knows_and_one_that_is_wrong_are_errors() {
    let host = shipped().await;
    let fake = || Fake::answering(Answer::Silence);
    assert!(matches!(probe(host, r#"{"kind":"grpc"}"#, fake()).await, Err(HookError::NoPlugin { .. })));
    let wrong = probe(host, r#"{"kind":"tcp","prot":1}"#, fake()).await.expect_err("it is refused");
    assert!(matches!(&wrong, HookError::InvalidInput { message, .. } if message.contains("prot")), "{wrong}");
}

#[tokio::test]
async fn statements_run_in_order_and_progress_is_told() {
    let host = shipped().await;
    let context = json!({ "project": {}, "sql": [
        { "service": "db", "role": "postgres", "statement": "create table if not exists a ()" },
        { "service": "db", "role": "app", "statement": "select 1" },
    ]});
    let fake = Fake::answering(Answer::Http(200, ""));
    let workers = host.workers(Hook::PostCreate, &host.pins(&PluginChoices::default())).await.expect("it is there");
    let [worker] = workers.as_slice() else { panic!("one plugin") };
    let outcome = host.work(worker, work_input(context.clone()), fake.clone()).await.expect("it runs");
    assert_eq!((outcome.changed, outcome.summary.as_str()), (true, "2 statements, 2 rows affected"));
    assert_eq!(
        fake.asked(),
        [
            "progress statement 1 of 2",
            "sql postgres@db: create table if not exists a ()",
            "progress statement 2 of 2",
            "sql app@db: select 1",
        ]
    );
    let code = (worker.name(), worker.digest());
    let undone = host.undo(code, &outcome, work_input(context.clone()), fake.clone()).await;
    assert!(undone.expect("it takes back") && fake.asked().len() == 4);
    let other = host.undo((worker.name(), "sha256:0"), &outcome, work_input(context.clone()), fake).await;
    assert!(!other.expect("no error"), "code that is nowhere takes nothing back");

    let away: Arc<dyn ServiceAccess> = Fake::answering(Answer::Error(AccessError::Refused("not yet".into())));
    let error = host.work(worker, work_input(context), away).await.expect_err("the database is away");
    assert!(matches!(error, HookError::RetryAfter { .. }), "{error}");
}

#[tokio::test]
async fn compiled_plugins_are_kept_and_a_damaged_one_is_compiled_again() {
    let cache = Plugins::new();
    let folder = cache.folder().join("cache");
    let config = HostConfig { cache: Some(folder.clone()), ..crate::config(&plugins_dir()) };
    let compiled = |folder: &Path| -> BTreeMap<PathBuf, Vec<u8>> {
        let files = fs::read_dir(folder).expect("the cache").map(|entry| entry.expect("an entry").path());
        let aot = files.filter(|file| file.extension().is_some_and(|extension| extension == "aot"));
        aot.map(|file| (file.clone(), fs::read(file).expect("a file"))).collect()
    };
    PluginHost::load(config.clone()).await.expect("they load");
    let first = compiled(&folder);
    assert_eq!(first.len(), 7);
    let (file, good) = first.iter().next().expect("a file");
    let mut bad = good.clone();
    let middle = bad.len() / 2;
    bad[middle] ^= 1;
    fs::write(file, &bad).expect("a write");
    let host = PluginHost::load(config).await.expect("they load");
    assert_eq!(host.list().len(), 7);
    let second = compiled(&folder);
    assert_eq!(second.keys().collect::<Vec<_>>(), first.keys().collect::<Vec<_>>());
    assert_ne!(second[file], bad, "the damaged file is replaced");
}
