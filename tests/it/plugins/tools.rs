//! What authors and operators do with plugins by the command line, without a daemon: try out, pack, install, sign, verify.

use std::path::Path;
use std::process::{Command, Output};

use crate::world::{binary_path, plugins_dir, root, scratch};

fn plugin(folder: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut command = Command::new(binary_path());
    command.arg("plugin").args(arguments).current_dir(folder);
    command.env("SUPAMANAGER_PLUGINS_DIR", folder.join("plugins")).env("SUPAMANAGER_DATA_DIR", folder.join("data"));
    command.envs(environment.iter().copied()).output().expect("the binary")
}

#[track_caller]
fn good(output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    said
}

#[track_caller]
fn bad(output: &Output, word: &str) {
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(!output.status.success() && said.contains(word), "`{word}` is not in: {said}");
}

#[test]
fn a_plugin_is_packed_installed_by_its_digest_and_signed() {
    let work = scratch("tools-pack");
    std::fs::create_dir_all(work.join("plugins")).expect("a folder");
    let shipped = plugins_dir().join("admit-naming").display().to_string();
    let packed = good(&plugin(&work, &["pack", &shipped, "--out", "one.plugin"], &[]));
    let digest = packed.split("--digest ").nth(1).expect("a digest").trim().to_owned();
    let again = good(&plugin(&work, &["pack", &shipped, "--out", "two.plugin"], &[]));
    assert!(again.contains(&digest), "the same plugin packs to the same bytes");

    let wrong = digest.replace(&digest[7..9], if &digest[7..9] == "00" { "11" } else { "00" });
    bad(&plugin(&work, &["install", "one.plugin"], &[]), &digest);
    bad(&plugin(&work, &["install", "one.plugin", "--digest", &wrong], &[]), "nothing was installed");
    assert_eq!(std::fs::read_dir(work.join("plugins")).expect("a folder").count(), 0);
    good(&plugin(&work, &["install", "one.plugin", "--digest", &digest], &[]));
    assert_eq!(std::fs::read_dir(work.join("plugins")).expect("a folder").count(), 1, "and nothing beside it");
    // Once more, over itself.
    good(&plugin(&work, &["install", "two.plugin", "--digest", &digest], &[]));

    // Shipped is what the build of this daemon recorded there, and here is no record.
    let listed = good(&plugin(&work, &["list"], &[]));
    assert!(listed.contains("admit-naming") && listed.contains("NOT LOADED") && listed.contains("no signature"), "{listed}");
    let made = good(&plugin(&work, &["keygen", "ops", "--out", "ops.key"], &[]));
    let public = made.lines().find(|line| line.starts_with("ops=")).expect("a public key");
    bad(&plugin(&work, &["keygen", "ops", "--out", "ops.key"], &[]), "a new file is wanted");
    good(&plugin(&work, &["sign", "plugins/admit-naming", "--key", "ops.key"], &[]));
    let trusting = [("SUPAMANAGER_PLUGIN_KEYS", public)];
    let verified = good(&plugin(&work, &["verify", "plugins/admit-naming"], &trusting));
    assert!(verified.contains("signed by ops"), "{verified}");
    bad(&plugin(&work, &["verify", "plugins/admit-naming"], &[]), "no key of plugin_keys");
    std::fs::remove_dir_all(work).expect("the folder goes");
}

/// A tar of one entry, made by Python, which shares nothing with the daemon.
fn tar_of(folder: &Path, name: &str, kind: &str) {
    let script = "import io,sys,tarfile; t=tarfile.open('evil.plugin','w'); i=tarfile.TarInfo(sys.argv[1])\n\
        if sys.argv[2]=='link': i.type=tarfile.SYMTYPE; i.linkname='/etc/passwd'; t.addfile(i)\n\
        else: b=b'name = \"../evil\"'; i.size=len(b); t.addfile(i, io.BytesIO(b))\nt.close()";
    let status = Command::new("python3").args(["-c", script, name, kind]).current_dir(folder).status();
    assert!(status.expect("python3").success());
}

#[test]
fn a_file_that_reaches_out_of_its_folder_is_not_installed() {
    let work = scratch("tools-evil");
    std::fs::create_dir_all(work.join("plugins")).expect("a folder");
    for (name, kind, word) in [
        ("../evil", "file", "which no plugin has"),
        ("/etc/evil", "file", "which no plugin has"),
        ("plugin.toml", "link", "no file"),
        ("plugin.wasm", "file", "no plugin.toml"),
        ("plugin.toml", "file", "a-z, 0-9 and -"),
    ] {
        tar_of(&work, name, kind);
        let shown = plugin(&work, &["install", "evil.plugin"], &[]);
        let said = String::from_utf8_lossy(&shown.stderr).into_owned();
        let digest = said.split("--digest ").nth(1).expect("a digest").trim().to_owned();
        bad(&plugin(&work, &["install", "evil.plugin", "--digest", &digest], &[]), word);
        assert_eq!(std::fs::read_dir(work.join("plugins")).expect("a folder").count(), 0, "{name} {kind}");
    }
    std::fs::remove_dir_all(work).expect("the folder goes");
}

#[test]
fn a_call_is_tried_out_with_a_fixture_and_what_it_used_is_shown() {
    let work = scratch("tools-try");
    let built = plugins_dir().join("probe-service").display().to_string();
    let fixtures = root().join("plugins/probe-service/fixtures");
    let one = fixtures.join("answers-as-expected.json").display().to_string();
    let run = good(&plugin(&work, &["run", &built, "--input", &one], &[]));
    for word in ["asked", "GET auth:9999/health", "\"healthy\"", "of 500.000 ms", "of 32768 KiB", "host calls"] {
        assert!(run.contains(word), "`{word}` is not in: {run}");
    }
    let bench = good(&plugin(&work, &["bench", &built, "--input", &one, "--calls", "20"], &[]));
    assert!(bench.contains("20 calls") && bench.contains("p99"), "{bench}");

    std::fs::create_dir_all(work.join("fixtures")).expect("a folder");
    let given = std::fs::read_to_string(&one).expect("a fixture").replace("\"healthy\"", "\"starting\"");
    std::fs::write(work.join("fixtures/wrong.json"), given).expect("written");
    let test = ["test", &built, "--fixtures", "fixtures"];
    bad(&plugin(&work, &test, &[]), "FAILED     wrong");
    good(&plugin(&work, &[&test[..], &["--record"]].concat(), &[]));
    assert!(good(&plugin(&work, &test, &[])).contains("1 fixtures"));
    std::fs::write(work.join("fixtures/wrong.json"), "{\"inptu\": 1}").expect("written");
    bad(&plugin(&work, &test, &[]), "wrong.json is no fixture");
    std::fs::remove_dir_all(work).expect("the folder goes");
}
