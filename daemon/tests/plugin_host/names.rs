//! Any name that is accepted comes back as it was given: through the renderer and YAML into a label, through Compose's
//! dollar signs into a variable, and through SQL into the store and out of it.

use std::path::PathBuf;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::json;
use supamanager::domain::{InstallationId, OperationId, OperationKind, PluginChoices, ProjectName, ProjectRef, ServiceName};
use supamanager::plugin_host::PluginHost;
use supamanager::stack::compose;
use supamanager::store::{NewOperation, NewProject, Store};
use tokio::runtime::Runtime;

use crate::example::{example, plugins_dir};
use crate::load;

const CASES: u32 = 200;

/// Everything that some layer reads as something else, mixed with any character at all.
fn names() -> impl Strategy<Value = String> {
    let troublesome = prop::sample::select(vec![
        "$",
        "$$",
        "${JWT_SECRET}",
        "{{ x }}",
        "{% raw %}",
        "'",
        "\"",
        "\\",
        "#",
        ": ",
        "- ",
        "%",
        "&",
        "*",
        "!",
        "|",
        ">",
        "@",
        "`",
        ",",
        "[",
        "]",
        "{",
        "}",
        "~",
        "null",
        "yes",
        "0x1",
        "1e3",
        "=",
        ";",
        "--",
        "/*",
        "\u{feff}",
        "\u{fffe}",
        "\u{ffff}",
        "\u{85}",
        "\u{a0}",
        "\u{200b}",
        "\u{202e}",
        "日本",
        "🐘",
        "ß",
        " ",
    ]);
    let piece = prop_oneof![troublesome.prop_map(str::to_owned), any::<char>().prop_map(String::from)];
    let text = prop::collection::vec(piece, 1..40).prop_map(|pieces| pieces.concat());
    text.prop_filter_map("a name", |text| ProjectName::parse(&text).ok().map(|name| name.as_str().to_owned()))
}

#[test]
fn every_name_survives_yaml_env_and_labels() {
    let runtime = Runtime::new().expect("a runtime");
    let host = runtime.block_on(load(&plugins_dir())).expect("the shipped plugins load");
    let mut runner = TestRunner::new(Config { cases: CASES, failure_persistence: None, ..Config::default() });
    let outcome = runner.run(&names(), |name| {
        let (label, variable) = runtime.block_on(rendered(&host, &name));
        prop_assert_eq!(&label, &name);
        prop_assert_eq!(&variable, &name);
        Ok(())
    });
    outcome.unwrap_or_else(|error| panic!("{error}"));
}

/// The label and the variable that hold the project's name, as the engine would get them.
async fn rendered(host: &PluginHost, name: &str) -> (String, String) {
    let mut input = example();
    input.context["project"]["name"] = json!(name);
    let files = host.render(&host.pins(&PluginChoices::default()), input).await.expect("it renders");
    let file = files.iter().find(|file| file.path == "docker-compose.yml").expect("a compose file");
    let stack = compose::parse(&file.content).unwrap_or_else(|error| panic!("{name:?}: {error}"));
    let service = |service: &str| &stack.services[&ServiceName::parse(service).expect("a service")];
    let label = stack.services.values().find_map(|service| service.labels.get("io.supamanager.name")).expect("the label");
    let variable = &service("auth").environment["GOTRUE_SMTP_SENDER_NAME"];
    let variable = compose::resolve(variable, |_| None).expect("it refers to no secret");
    (label.clone(), variable.expose().clone())
}

#[test]
fn every_name_survives_sql() {
    let runtime = Runtime::new().expect("a runtime");
    let (folder, store) = runtime.block_on(new_store());
    let mut runner = TestRunner::new(Config { cases: CASES, failure_persistence: None, ..Config::default() });
    let number = std::cell::Cell::new(0_u16);
    let outcome = runner.run(&names(), |name| {
        number.set(number.get() + 1);
        prop_assert_eq!(runtime.block_on(stored(&store, &name, number.get())), name);
        Ok(())
    });
    runtime.block_on(store.close());
    std::fs::remove_dir_all(folder).expect("the folder goes");
    outcome.unwrap_or_else(|error| panic!("{error}"));
}

async fn new_store() -> (PathBuf, Store) {
    let folder = std::env::temp_dir().join(format!("supamanager-names-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let store = Store::open(&format!("sqlite://{}", folder.join("names.db").display())).await.expect("a store");
    let id = InstallationId::parse(&"0".repeat(32)).expect("an id");
    store.found(&id, "key", &["here".to_owned()], 1).await.expect("it is founded");
    (folder, store)
}

/// A project of this name, as the store gives it back.
async fn stored(store: &Store, name: &str, number: u16) -> String {
    let letter = |digit: u16| char::from(b'a' + u8::try_from(digit % 26).expect("a letter"));
    let id: String = (0..20).map(|place| letter(number / 26_u16.pow(place % 3))).collect();
    let id = ProjectRef::parse(&id).expect("a ref");
    let operation = NewOperation {
        id: OperationId::parse(&format!("op_{number:024x}")).expect("an operation id"),
        project: id.clone(),
        kind: OperationKind::Create,
        generation: 1,
        services: Vec::new(),
        update: None,
        requested_by: "test".into(),
        plugins: Vec::new(),
        deadline_at: 1,
    };
    let project = NewProject {
        id: id.clone(),
        name: name.to_owned(),
        organization_id: "default".to_owned(),
        region: "here".to_owned(),
        template_set: "supabase".to_owned(),
        image_set: "supabase".to_owned(),
        without: Vec::new(),
        plugins: Default::default(),
        resources: Default::default(),
        ports: vec![("api".to_owned(), 1000 + number)],
        subnet: format!("10.0.{}.{}/27", number / 8, number % 8 * 32),
        secrets: Vec::new(),
        key_id: "key".to_owned(),
        caller: String::new(),
        idempotency: None,
    };
    store.accept_create(&project, &operation, 1).await.expect("it is accepted");
    store.project(&id).await.expect("it is read").expect("it is there").name
}
