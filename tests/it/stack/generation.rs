//! A newer generation as data: PostgreSQL 17 from a template set and an image set, under a daemon that knows of neither.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use reqwest::Method;
use serde_json::{Value, json};

use super::PASSWORD;
use super::checks::Project;
use crate::world::{Daemon, Options, binary_path, copy_folder, root, run, scratch};

/// What the copy of the default template set says otherwise (its README, "Make a set").
const SET: [(&str, &str); 2] = [("name = \"supabase\"", "name = \"seventeen\""), ("postgres_major = 15", "postgres_major = 17")];
/// What the copy of the sandbox's image set says otherwise: nine of the ten stay.
const IMAGES: [(&str, &str); 3] = [
    ("name = \"sandbox\"", "name = \"seventeen\""),
    ("postgres_major = 15", "postgres_major = 17"),
    ("db = \"supamanager-sandbox/db:1\"", "db = \"supamanager-sandbox/db-17:1\""),
];
/// `json_table` is new in PostgreSQL 17: an older one refuses the statement, and with it the project.
const STATEMENT: &str = r#"
[[sql]]
service = "db"
role = "postgres"
statement = """create view public.generation as
  select major from json_table('[{"major": 17}]', '$[*]' columns (major int path '$.major'))"""
"#;

#[tokio::test]
async fn a_newer_generation_needs_no_line_of_the_daemon() {
    let templates = the_shipped_templates_and_seventeen();
    let options = Options::default().set("SUPAMANAGER_TEMPLATES_DIR", templates.display().to_string());
    assert_eq!(options.environment.len(), 1, "what tells this daemon from every other test's");
    let daemon = Daemon::ready("generation", options).await;
    assert_eq!(Path::new(daemon.binary().get_program()), binary_path());
    // Side by side under one process: that it is 17 here and 15 there is no setting of the daemon's.
    let (newer, usual) = tokio::join!(
        daemon.api.healthy(json!({"name": "17", "template_set": "seventeen", "image_set": "seventeen", "db_pass": PASSWORD})),
        daemon.api.healthy(json!({"name": "15", "template_set": "lean", "image_set": "sandbox", "db_pass": PASSWORD})),
    );
    assert_eq!(newer["services"].as_object().map(serde_json::Map::len), Some(10));
    let newer = Project::of(&daemon, newer["id"].as_str().expect("an id")).await;
    let usual = Project::of(&daemon, usual["id"].as_str().expect("an id")).await;
    for (project, major) in [(&newer, "17"), (&usual, "15")] {
        assert_eq!(project.sql("select current_setting('server_version_num')::int / 10000"), major);
        let version = project.sql("select version()");
        assert!(version.starts_with(&format!("PostgreSQL {major}.")), "{version}");
        project.the_database_answers_over_the_published_port(PASSWORD);
        project.a_row_written_through_sql_is_read_through_the_gateway().await;
    }
    newer.the_gateway_answers_its_smoke_table();
    let (status, body) = newer.request("/rest/v1/generation").await;
    assert_eq!((status, body.as_str()), (200, r#"[{"major":17}]"#));
    let check = root().join("tests/sandbox/check.py");
    run(Command::new("python3").arg(check).arg(&newer.folder).arg("--images").arg(templates.join("images/seventeen.toml")));
    let plugins = [pinned(&daemon, &newer).await, pinned(&daemon, &usual).await];
    assert!(plugins[0].as_object().is_some_and(|pins| !pins.is_empty()) && plugins[0] == plugins[1], "{plugins:?}");
    no_data_folder_changes_its_generation(&daemon, &newer, "sandbox").await;
    no_data_folder_changes_its_generation(&daemon, &usual, "seventeen").await;
    tokio::join!(daemon.api.gone(&newer.id), daemon.api.gone(&usual.id));
    newer.nothing_is_left(&daemon);
    usual.nothing_is_left(&daemon);
    daemon.finish();
    std::fs::remove_dir_all(templates).expect("the templates go");
}

/// The repository's templates as they are, with one template set and one image set more: each a copy of which a few lines
/// are others.
fn the_shipped_templates_and_seventeen() -> PathBuf {
    let (shipped, folder) = (root().join("templates"), scratch("generation-templates"));
    copy_folder(&shipped, &folder);
    let (set, images) = (folder.join("sets/seventeen"), folder.join("images/seventeen.toml"));
    copy_folder(&shipped.join("sets/supabase"), &set);
    let declared = said_otherwise(&shipped.join("sets/supabase/set.toml"), &SET) + STATEMENT;
    std::fs::write(set.join("set.toml"), declared).expect("written");
    std::fs::write(images, said_otherwise(&shipped.join("images/sandbox.toml"), &IMAGES)).expect("written");
    let only = |place: &str, name: &str| format!("Only in {}: {name}", folder.join(place).display());
    assert_eq!(differing(&shipped, &folder), [only("images", "seventeen.toml"), only("sets", "seventeen")]);
    assert_eq!(differing(&shipped.join("sets/supabase"), &set).len(), 1, "one file says what is new");
    folder
}

fn said_otherwise(file: &Path, changes: &[(&str, &str)]) -> String {
    let text = std::fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    changes.iter().fold(text, |text, (from, to)| {
        assert_eq!(text.matches(from).count(), 1, "{from} in {}", file.display());
        text.replace(from, to)
    })
}

/// The lines of `diff -rq`.
fn differing(one: &Path, other: &Path) -> Vec<String> {
    let output = Command::new("diff").env("LC_ALL", "C").arg("-rq").args([one, other]).stdin(Stdio::null()).output();
    let output = output.expect("diff");
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text").lines().map(str::to_owned).collect()
}

/// Plugin -> digest, as its create used them.
async fn pinned(daemon: &Daemon, project: &Project) -> Value {
    let operations = daemon.api.get(&format!("/platform/projects/{}/operations", project.id)).await.body;
    operations["operations"][0]["plugins"].clone()
}

/// The daemon takes the major version from the data, too.
async fn no_data_folder_changes_its_generation(daemon: &Daemon, project: &Project, image_set: &str) {
    let path = format!("/platform/projects/{}?plan=true", project.id);
    let refused = daemon.api.call(Method::PATCH, &path, Some(json!({"image_set": image_set})), &[]).await;
    let told = (refused.status, refused.body["field"].as_str(), refused.body["code"].as_str());
    assert_eq!(told, (422, Some("image_set"), Some("postgres_major")), "{}", refused.body);
}
