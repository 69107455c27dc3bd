//! No secret of a whole run is in a log line, a byte of the database, a label, an operation, an event, a metric or
//! a plugin's input: as it is, percent-encoded, or in base64. A canary planted in each channel must be found.

use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

use super::checks::Project;
use crate::world::{Daemon, copy_folder, root, scratch};

/// What a plugin got, written back by a template of the set: every variable there is.
const SHOWN: &str = "{{ project|tojson }}{{ endpoint|tojson }}{{ publish_address|tojson }}{{ ports|tojson }}{{ network|tojson }}{{ services|tojson }}{{ options|tojson }}{{ labels|tojson }}";

/// The default templates with one more file: the renderer's own input.
pub fn templates_that_show_the_plugins_input() -> PathBuf {
    let folder = scratch("templates");
    copy_folder(&root().join("templates"), &folder);
    let set = folder.join("sets/supabase/set.toml");
    let text = std::fs::read_to_string(&set).expect("set.toml");
    let file = "[[file]]\ntemplate = \"input.tmpl.json\"\npath = \"input.json\"\nmode = \"0600\"\n\n[[port]]";
    std::fs::write(&set, text.replacen("[[port]]", file, 1)).expect("written");
    // The name holds `${JWT_SECRET}`, which no file but the compose file may: it is shown without its dollar signs.
    let shown = SHOWN.replace("{{ project|tojson }}", "{{ project|tojson|replace(\"$\", \"\") }}");
    std::fs::write(folder.join("sets/supabase/input.tmpl.json"), shown).expect("written");
    folder
}

pub async fn no_secret_leaves_its_place(daemon: &Daemon, project: &Project) {
    let channels = channels(daemon, project).await;
    let secrets = all(daemon, project);
    for (channel, bytes, marker) in &channels {
        assert!(find(bytes, marker.as_bytes()), "{channel} does not hold `{marker}`: the wrong thing is searched");
        for (number, secret) in secrets.iter().enumerate() {
            for (form, text) in forms(secret) {
                assert!(!find(bytes, text.as_bytes()), "{channel} holds secret {number} ({form})");
            }
        }
        for (form, text) in forms("canary p'ä:/7f3a90c1") {
            let planted = [bytes.as_slice(), text.as_bytes(), b"..."].concat();
            assert!(find(&planted, text.as_bytes()), "a canary planted in {channel} ({form}) is not found");
        }
    }
}

/// The project's, the caller's token and the key that everything is sealed under.
pub fn all(daemon: &Daemon, project: &Project) -> Vec<String> {
    let key = std::fs::read_to_string(daemon.data.join("encryption.key")).expect("the key file");
    [project.secrets(), vec![daemon.api.token.clone(), key.trim().to_owned()]].concat()
}

/// The delete has logged and written, too.
pub fn none_came_with_the_delete(daemon: &Daemon, secrets: &[String]) {
    let files = ["supamanager.db", "supamanager.db-wal"].map(|file| std::fs::read(daemon.data.join(file)).unwrap_or_default());
    for (channel, bytes) in [("log", daemon.log().into_bytes()), ("database bytes", files.concat())] {
        for (number, secret) in secrets.iter().enumerate() {
            for (form, text) in forms(secret) {
                assert!(!find(&bytes, text.as_bytes()), "{channel} holds secret {number} ({form}) after the delete");
            }
        }
    }
}

/// Channel, its bytes, and a text that must be in it.
async fn channels(daemon: &Daemon, project: &Project) -> Vec<(String, Vec<u8>, String)> {
    let id = project.id.clone();
    let mut channels = vec![("log".to_owned(), daemon.log().into_bytes(), id.clone())];
    for file in ["supamanager.db", "supamanager.db-wal"] {
        channels.push((file.to_owned(), std::fs::read(daemon.data.join(file)).unwrap_or_default(), id.clone()));
    }
    // What the writer has moved from one file to the other is in one of them: both together must hold the ref.
    let both = [channels[1].1.clone(), channels[2].1.clone()].concat();
    channels.truncate(1);
    channels.push(("database bytes".to_owned(), both, id.clone()));
    for object in daemon.objects() {
        let (kind, name) = object.split_once(' ').expect("kind and name");
        let inspected = daemon.engine.docker(&[kind, "inspect", name]);
        let value: serde_json::Value = serde_json::from_str(&inspected).expect("JSON");
        let labels = if kind == "container" { &value[0]["Config"]["Labels"] } else { &value[0]["Labels"] };
        channels.push((format!("labels of {object}"), labels.to_string().into_bytes(), id.clone()));
    }
    for (name, path, marker) in [
        ("operations", format!("/platform/projects/{id}/operations"), "start.1"),
        ("project", format!("/platform/projects/{id}"), "ACTIVE_HEALTHY"),
        ("health", format!("/platform/projects/{id}/health"), "ACTIVE_HEALTHY"),
        ("metrics", "/metrics".to_owned(), "supamanager_"),
    ] {
        let body = daemon.api.get(&path).await.body;
        channels.push((name.to_owned(), body.to_string().into_bytes(), marker.to_owned()));
    }
    let error = daemon.api.post(&format!("/platform/projects/{id}/retry"), serde_json::json!({})).await;
    channels.push(("error".to_owned(), error.body.to_string().into_bytes(), "wrong_state".to_owned()));
    for service in super::SERVICES {
        let lines = daemon.api.get(&format!("/platform/projects/{id}/logs?service={service}&tail=1000")).await.body;
        channels.push((
            format!("served log of {service}"),
            lines.as_str().unwrap_or_default().as_bytes().to_vec(),
            String::new(),
        ));
    }
    let events = supamanager::store::Store::open(&format!("sqlite://{}", daemon.data.join("supamanager.db").display())).await;
    let events = events.expect("the store").events_after(&supamanager::domain::ProjectRef::parse(&id).expect("a ref"), 0).await;
    let events: String = events.expect("events").into_iter().map(|event| event.data).collect();
    channels.push(("events".to_owned(), events.into_bytes(), "containers".to_owned()));
    let input = std::fs::read(project.folder.join("input.json")).expect("the plugin's input");
    channels.push(("plugin input".to_owned(), input, id));
    channels
}

fn forms(secret: &str) -> Vec<(&'static str, String)> {
    let percent: String = secret
        .bytes()
        .map(|byte| {
            if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                char::from(byte).to_string()
            } else {
                format!("%{byte:02X}")
            }
        })
        .collect();
    let mut forms = vec![("as it is", secret.to_owned()), ("percent-encoded", percent)];
    // Base64 of a text in the middle of others has three alignments; the ends that touch neighbours are left off.
    for shift in 0..3_usize {
        let bytes = [vec![b'x'; shift], secret.as_bytes().to_vec()].concat();
        for (name, engine) in [("base64", &STANDARD), ("base64url", &URL_SAFE_NO_PAD)] {
            let text = engine.encode(&bytes).trim_end_matches('=').to_owned();
            let inner = text.get(4..text.len().saturating_sub(2)).unwrap_or_default().to_owned();
            if inner.len() >= 12 {
                forms.push((name, inner));
            }
        }
    }
    forms
}

fn find(haystack: &[u8], needle: &[u8]) -> bool {
    needle.is_empty() || haystack.windows(needle.len()).any(|window| window == needle)
}
