//! The binary as an operator meets it.

use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use crate::world::{Daemon, Options};

fn refused(command: &mut Command, arguments: &[&str]) -> String {
    let output = command.args(arguments).stdin(Stdio::null()).output().expect("the binary");
    assert!(!output.status.success(), "{arguments:?} must be refused");
    String::from_utf8(output.stderr).expect("text")
}

#[tokio::test]
async fn a_second_daemon_on_the_same_folder_refuses_to_start() {
    let daemon = Daemon::ready("second", Options::default()).await;
    let message = refused(&mut daemon.binary(), &["serve"]);
    assert!(message.contains("another daemon works on") && message.contains("data_dir"), "{message}");
    assert_eq!(daemon.api.get("/readyz").await.status, 200, "the first one goes on");
    daemon.finish();
}

#[tokio::test]
async fn token_create_prints_only_the_token_and_keeps_its_hash() {
    let daemon = Daemon::ready("token-create", Options::default()).await;
    let token = daemon.command(&["token", "create", "--name", "ci"]);
    let token = token.strip_suffix('\n').expect("one line");
    let hex = token.strip_prefix("sbp_").expect("the prefix");
    assert!(hex.len() == 40 && hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)), "{token}");
    let api = crate::world::Api::new(&daemon.api.url, token);
    assert_eq!(api.get("/platform/projects").await.status, 200);
    for file in ["supamanager.db", "supamanager.db-wal"] {
        let bytes = std::fs::read(daemon.data.join(file)).unwrap_or_default();
        assert!(!bytes.windows(hex.len()).any(|window| window == hex.as_bytes()), "{file} holds the token");
    }
    daemon.finish();
}

#[tokio::test]
async fn a_wrong_key_names_itself() {
    let daemon = Daemon::ready("wrong-key", Options::default()).await;
    let file = daemon.data.join("wrong.toml");
    let cases = [
        ("listne = \"x\"", "listne"),
        ("[ports]\napi = \"high\"", "ports.api"),
        ("[limits]\noperations = 0", "limits.operations"),
    ];
    for (text, key) in cases {
        std::fs::write(&file, text).expect("written");
        // The file must be what is wrong: nothing of the environment may hide it.
        let mut command = daemon.binary();
        command.env_remove("SUPAMANAGER_PORTS_API");
        let message = refused(&mut command, &["serve", "--config", file.to_str().expect("a path")]);
        assert!(message.contains(key), "{text}: {message}");
    }
    let message = refused(daemon.binary().env("SUPAMANAGER_LISTEM", "x"), &["serve"]);
    assert!(message.contains("SUPAMANAGER_LISTEM"), "{message}");
    let message = refused(daemon.binary().env("SUPAMANAGER_DATABASE_URL", "mysql://x/y"), &["token", "create", "--name", "x"]);
    assert!(message.contains("database_url") && message.contains("mysql") && message.contains("postgres"), "{message}");
    daemon.finish();
}

#[tokio::test]
async fn without_a_secret_a_key_file_is_made_and_another_key_is_refused() {
    let daemon = Daemon::ready("key-file", Options::default()).await;
    let mode = |name: &str| daemon.data.join(name).metadata().expect("made").permissions().mode() & 0o777;
    assert_eq!((mode("encryption.key"), mode("supamanager.db"), mode("installation")), (0o600, 0o600, 0o600));
    assert!(daemon.log().contains("made a key file"), "it says so");
    let message = refused(daemon.binary().env("ENCRYPTION_SECRET", "x".repeat(40)), &["token", "create", "--name", "x"]);
    assert!(message.contains("ENCRYPTION_SECRET"), "{message}");
    let message = refused(daemon.binary().env("ENCRYPTION_SECRET", "short"), &["token", "create", "--name", "x"]);
    assert!(message.contains("at least 32"), "{message}");
    daemon.finish();
}

#[tokio::test]
async fn a_first_start_that_fails_can_be_repeated_with_the_right_secret() {
    let daemon = Daemon::at_rest("first-start", Options::default());
    let message = refused(daemon.binary().env("ENCRYPTION_SECRET", "short"), &["token", "create", "--name", "x"]);
    assert!(message.contains("at least 32"), "{message}");
    let secret = "a secret of more than thirty-two characters";
    let output = daemon.binary().args(["token", "create", "--name", "x"]).env("ENCRYPTION_SECRET", secret).output();
    let output = output.expect("the binary");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    std::fs::remove_dir_all(&daemon.data).expect("the folder goes");
}

#[tokio::test]
async fn a_store_and_a_folder_that_do_not_belong_together_are_refused() {
    let mut daemon = Daemon::ready("mismatch", Options::default()).await;
    daemon.stop();
    let path = daemon.data.join("installation");
    let id = std::fs::read_to_string(&path).expect("an id");
    std::fs::write(&path, "0".repeat(32)).expect("written");
    let message = refused(&mut daemon.binary(), &["serve"]);
    assert!(message.contains("do not belong together"), "{message}");
    std::fs::write(&path, id).expect("written");
    daemon.finish();
}

#[tokio::test]
async fn doctor_checks_this_machine() {
    let daemon = Daemon::ready("doctor", Options::default()).await;
    let text = daemon.command(&["doctor"]);
    for part in [
        "engine ",
        "speaks API",
        "plugins: ",
        "template set supabase",
        "key: ",
        "ports.api",
        "ports.db",
        "subnets.pool",
        "capacity: ",
        "by memory",
        "extended attributes",
    ] {
        assert!(text.contains(part), "{part} is missing in\n{text}");
    }
    let output = daemon.binary().arg("doctor").env("DOCKER_HOST", "unix:///nowhere.sock").output().expect("the binary");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(!output.status.success() && text.contains("BAD     engine:") && text.contains("DOCKER_HOST"), "{text}");
    daemon.finish();
}
