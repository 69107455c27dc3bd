//! Whose plugins are loaded, and what they may reach: by default those that the build recorded, and nobody else's.

use std::path::Path;

use supamanager::plugin_host::{
    Approval, Approvals, Fate, HostConfig, Interface, LoadError, MANIFEST_FILE, PluginHost, PluginInfo, SIGNATURE_FILE, new_key,
    sign,
};

use crate::guests::{Plugins, component, prober};

/// A data folder that goes with the test.
struct Data(std::path::PathBuf);

impl Data {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("supamanager-leave-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).expect("a temporary folder");
        Self(folder)
    }
}

impl Drop for Data {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A host as an operator configures it.
async fn host(plugins: &Plugins, data: &Data, keys: &[String], unsigned: &[&str]) -> Result<PluginHost, LoadError> {
    let unsigned: Vec<String> = unsigned.iter().map(|name| (*name).to_owned()).collect();
    let leave = supamanager::plugin_host::Leave::new(keys, &unsigned, &data.0).expect("good keys");
    PluginHost::load(HostConfig { leave, ..HostConfig::new(plugins.folder(), &data.0) }).await
}

fn admitter() -> Vec<u8> {
    component(
        "admit",
        "",
        "(func (export \"admit\") (param i32 i32) (result i32) (i64.store (i32.const 2048) (i64.const 0)) (i32.const 2048))",
    )
}

/// A prober that calls `service-http`, so that it imports it.
fn reaching() -> Vec<u8> {
    prober(
        "(call $send (i32.const 16) (i32.const 5) (i32.const 1) (i32.const 16) (i32.const 5) (i32.const 16) (i32.const 5)
            (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 3000))
         (i64.store (i32.const 2048) (i64.const 0)) (i64.store (i32.const 2056) (i64.const 0)) (i32.const 2048)",
    )
}

fn manifest(plugins: &Plugins) -> String {
    std::fs::read_to_string(plugins.folder().join("guest").join(MANIFEST_FILE)).expect("a manifest")
}

fn write(folder: &Path, file: &str, text: &str) {
    std::fs::write(folder.join(file), text).expect("written");
}

fn only(host: &PluginHost) -> PluginInfo {
    host.list().remove(0)
}

#[tokio::test]
async fn an_unsigned_plugin_loads_only_where_the_operator_names_it_and_shows_as_unsigned() {
    let (plugins, data) = (Plugins::of("admit", "", &admitter()), Data::new("unsigned"));
    let refused = host(&plugins, &data, &[], &["another"]).await.err().expect("strict by default");
    let words = refused.to_string();
    assert!(matches!(refused, LoadError::Untrusted { .. }), "{words}");
    for word in ["no signature", "plugin sign", "plugins_unsigned", "`guest`", "plugin.toml"] {
        assert!(words.contains(word), "`{word}` is not in {words}");
    }
    let host = host(&plugins, &data, &[], &["guest"]).await.expect("the operator named it");
    assert_eq!(only(&host).provenance, "unsigned");
    let text = supamanager::telemetry::Metrics::new(host.metrics()).text(&[]).expect("text");
    assert!(text.contains("provenance=\"unsigned\""), "{text}");
}

#[tokio::test]
async fn a_signature_holds_for_the_key_and_the_bytes_it_was_made_with() {
    let (plugins, data) = (Plugins::of("admit", "", &admitter()), Data::new("signed"));
    let folder = plugins.folder().join("guest");
    let ((secret, public), (other, other_public)) = (new_key("ops").expect("a key"), new_key("dev").expect("a key"));
    write(&folder, SIGNATURE_FILE, &sign(&secret, &manifest(&plugins)).expect("signed"));
    let trusting = async |keys: &[String]| host(&plugins, &data, keys, &[]).await.map(|host| only(&host).provenance);
    assert_eq!(trusting(&[other_public.clone(), public.clone()]).await.expect("trusted"), "signed by ops");
    let words = trusting(&[other_public]).await.expect_err("another key").to_string();
    assert!(words.contains("no key of plugin_keys"), "{words}");
    let good = manifest(&plugins);
    write(&folder, MANIFEST_FILE, &good.replace("version = \"1.0.0\"", "version = \"1.0.0\" "));
    let words = trusting(std::slice::from_ref(&public)).await.expect_err("one byte more").to_string();
    assert!(words.contains("was changed after it"), "{words}");
    write(&folder, MANIFEST_FILE, &good);
    for nonsense in ["", "nonsense", "AAAA"] {
        write(&folder, SIGNATURE_FILE, nonsense);
        let words = trusting(std::slice::from_ref(&public)).await.expect_err("no signature").to_string();
        assert!(words.contains("no signature"), "{words}");
    }
    assert!(
        sign(&other[1..], "x").is_err() && supamanager::plugin_host::Leave::new(&["ops=AAAA".to_owned()], &[], &data.0).is_err()
    );
}

#[tokio::test]
async fn what_reaches_out_is_granted_to_one_digest_and_asked_for_again_when_it_changes() {
    let (plugins, data) = (Plugins::of("probe", "", &reaching()), Data::new("granted"));
    let leave = supamanager::plugin_host::Leave::new(&[], &["guest".to_owned()], &data.0).expect("no keys");
    let refused = leave.judge_folder(&plugins.folder().join("guest")).expect_err("nothing was granted");
    let LoadError::NotGranted { name, digest, asks, .. } = &refused else { panic!("{refused}") };
    assert!(host(&plugins, &data, &[], &["guest"]).await.expect("it starts without it").list().is_empty());
    assert!(name == "guest" && asks.iter().any(|line| line.contains("service-http")), "{asks:?}");
    assert!(refused.to_string().contains("supamanager plugin grant guest"), "{refused}");
    let looked_at = PluginHost::inspect(&plugins.folder().join("guest"), Default::default()).await.expect("it loads");
    assert_eq!((&looked_at.digest, looked_at.reaches.lines().len()), (digest, 1));
    let approvals = Approvals::in_folder(&data.0);
    let approval = Approval { digest: digest.clone(), reaches: looked_at.reaches };
    // What somebody granted and it asks for no more shows.
    let mut wider = approval.clone();
    wider.reaches.imports.insert(Interface::DbLogin);
    approvals.grant("guest", wider).expect("written");
    let (_, beyond) = leave.judge_folder(&plugins.folder().join("guest")).expect("granted");
    assert!(beyond.len() == 1 && beyond[0].contains("db-login"), "{beyond:?}");
    approvals.grant("guest", approval.clone()).expect("written");
    assert_eq!(leave.judge_folder(&plugins.folder().join("guest")).expect("granted").1, Vec::<String>::new());
    let running = host(&plugins, &data, &[], &["guest"]).await.expect("granted");
    assert_eq!(only(&running).digest, *digest);

    // Other code under the same name: what was granted was granted to the one before.
    let other = prober(
        "(drop (i32.const 7)) (call $send (i32.const 16) (i32.const 5) (i32.const 1) (i32.const 16) (i32.const 5) (i32.const 16)
            (i32.const 5) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 3000))
         (i64.store (i32.const 2048) (i64.const 0)) (i64.store (i32.const 2056) (i64.const 0)) (i32.const 2048)",
    );
    plugins.add("guest", "probe", "", &other);
    let change = running.reload().await.expect("the folder").remove(0);
    assert_eq!((change.fate, change.to.as_ref()), (Fate::Refused, Some(digest)), "what was granted goes on");
    assert!(change.error.expect("why").contains("plugin grant"));

    // The same code that asks for more.
    plugins.add("guest", "probe", "", &reaching());
    let text = manifest(&plugins).replace("\"service-http\"", "\"service-http\", \"db-login\"");
    write(&plugins.folder().join("guest"), MANIFEST_FILE, &text);
    let change = running.reload().await.expect("the folder").remove(0);
    assert_eq!(change.fate, Fate::Refused, "{change:?}");

    // Taken back: it is called no more, not even by an operation that began with it.
    plugins.add("guest", "probe", "", &reaching());
    assert!(approvals.revoke("guest").expect("written"));
    let change = running.reload().await.expect("the folder").remove(0);
    assert_eq!((change.fate, running.list().len()), (Fate::Removed, 0), "{change:?}");
    approvals.grant("guest", approval.clone()).expect("written");
    let change = running.reload().await.expect("the folder").remove(0);
    assert_eq!((change.fate, running.list().len()), (Fate::Loaded, 1), "{change:?}");

    // A newer version gets a grant of its own, and the one before keeps its: there is a way back.
    plugins.add("guest", "probe", "", &other);
    let newer = PluginHost::inspect(&plugins.folder().join("guest"), Default::default()).await.expect("it loads");
    let granted = Approval { digest: newer.digest.clone(), reaches: newer.reaches };
    approvals.grant("guest", granted).expect("written");
    assert_eq!(running.reload().await.expect("the folder").remove(0).fate, Fate::Replaced);
    let back = running.rollback("guest", None).await.expect("the one before has its grant still");
    assert_eq!(back.to.as_ref(), Some(digest));
    drop(running);
    // One that was not granted yet does not keep a daemon from starting: the newest that may run does.
    approvals.revoke("guest").expect("written");
    approvals.grant("guest", approval).expect("written");
    std::fs::remove_file(data.0.join("plugins/guest.held")).expect("nothing is held");
    let started = host(&plugins, &data, &[], &["guest"]).await.expect("it starts");
    assert_eq!(only(&started).digest, *digest);
    approvals.revoke("guest").expect("written");
    let started = host(&plugins, &data, &[], &["guest"]).await.expect("it starts without it");
    assert!(started.list().is_empty());
}

#[tokio::test]
async fn what_the_build_recorded_is_shipped_and_what_was_changed_since_is_not() {
    let (plugins, data) = (Plugins::of("probe", "", &reaching()), Data::new("shipped"));
    supamanager::plugin_host::record(plugins.folder(), "guest", &manifest(&plugins)).expect("recorded");
    let running = host(&plugins, &data, &[], &[]).await.expect("it is shipped");
    assert_eq!(only(&running).provenance, "shipped");
    // As shipped before, out of the data folder.
    let digest = only(&running).digest;
    supamanager::plugin_host::record(plugins.folder(), "guest", "another").expect("recorded");
    let change = running.reload().await.expect("the folder").remove(0);
    assert_eq!((change.fate, change.to), (Fate::Refused, Some(digest)));
    let refused = host(&plugins, &data, &[], &[]).await.err().expect("changed");
    assert!(matches!(refused, LoadError::Untrusted { .. }), "{refused}");
}
