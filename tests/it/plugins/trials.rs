//! An operator tries a newer version of the health plugin on a live project: granted over REST, asked beside the running one,
//! deciding for one project, then in waves for all, and back.

use std::time::Duration;

use serde_json::{Value, json};

use super::{another_version, running};
use crate::world::{Daemon, Options, copy_folder, copy_plugins, scratch};

#[tokio::test]
async fn a_newer_health_plugin_is_tried_promoted_in_waves_and_taken_back() {
    let (plugins, mine) = (scratch("tried"), scratch("tried-mine"));
    copy_plugins(&plugins);
    copy_folder(&plugins.join("probe-service"), &mine.join("probe-service"));
    let newer = another_version(&mine.join("probe-service"), 7);
    let options = Options::tiny().set("SUPAMANAGER_PLUGINS_DIR", plugins.display().to_string());
    let daemon = Daemon::ready("tried", options.set("SUPAMANAGER_PLUGINS_UNSIGNED", "probe-service")).await;
    let id = daemon.api.healthy(json!({"name": "tried"})).await["id"].as_str().expect("an id").to_owned();
    let (first, folder) = (running(&daemon).await, mine.join("probe-service").display().to_string());

    // What it reaches is granted first; a grant is for what somebody has looked at.
    let refused = daemon.binary().args(["plugin", "shadow", &folder, "--for", "1s"]).output().expect("the binary");
    let words = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && words.contains("plugin grant probe-service"), "{words}");
    let grants = daemon.api.get("/platform/plugins/grants").await.body;
    let of = |candidate: bool| -> Value {
        let all = grants["grants"].as_array().expect("a list").iter();
        let mut found = all.filter(|grant| grant["plugin"] == "probe-service" && grant["candidate"] == candidate);
        found.next().expect("of the probe plugin").clone()
    };
    assert_eq!((of(false)["provenance"].as_str(), of(false)["problem"].is_null()), (Some("shipped"), true), "{grants:#}");
    assert_eq!((of(true)["digest"].as_str(), of(true)["provenance"].is_null()), (Some(newer.as_str()), true), "{grants:#}");
    assert!(of(true)["asks"].as_array().is_some_and(|asks| asks.len() == 4), "{grants:#}");
    let asks = of(true)["asks_digest"].as_str().expect("a digest").to_owned();
    let put = async |digest: &str, asks: &str| {
        let answer = daemon.api.call(
            reqwest::Method::PUT,
            "/platform/plugins/probe-service/grant",
            Some(json!({ "digest": digest, "asks_digest": asks })),
            &[],
        );
        answer.await
    };
    let another = put(&format!("sha256:{}", "0".repeat(64)), &asks).await;
    assert_eq!((another.status, another.body["code"].as_str()), (409, Some("other_digest")), "{}", another.body);
    // The same code may ask for more by now.
    let more = put(&newer, "0000000000000000").await;
    assert_eq!((more.status, more.body["code"].as_str()), (409, Some("other_asks")), "{}", more.body);
    assert_eq!(put(&newer, &asks).await.status, 200);

    let shown = daemon.command(&["plugin", "shadow", &folder, "--for", "1s"]);
    assert!(shown.contains(&newer) && shown.contains("decides    for 0 projects"), "{shown}");
    daemon.command(&["plugin", "shadow", &folder, "--for", "10m", "--detach"]);
    // A restart asks every service at once, and the next round of the monitor would too.
    assert_eq!(daemon.api.post(&format!("/platform/projects/{id}/restart"), json!({})).await.status, 202);
    daemon.api.settled(&id, &["ACTIVE_HEALTHY"], Duration::from_secs(60)).await;
    // A service may begin to listen between the two questions: that much they may differ.
    let trial = daemon.api.get("/platform/plugins/probe-service/trial").await.body;
    assert!(trial["compared"].as_u64() > Some(0) && trial["same"].as_u64() > Some(0), "{trial:#}");
    let shown = daemon.command(&["plugin", "trial", "probe-service"]);
    assert!(shown.contains("of which"), "{shown}");
    assert_eq!(running(&daemon).await, first, "a shadow decides nothing");

    let shown = daemon.command(&["plugin", "promote", "probe-service", "--project", &id]);
    assert!(shown.contains("decides    for 1 projects"), "{shown}");
    let wrong = daemon.api.post("/platform/plugins/probe-service/promote", json!({"percent": 101})).await;
    assert_eq!(wrong.status, 400, "{}", wrong.body);
    let shown = daemon.command(&["plugin", "promote", "probe-service", "--all", "--wave", "2s"]);
    assert!(shown.contains(" 10 %") && shown.contains("100 %") && shown.contains("replaced"), "{shown}");
    assert_eq!(running(&daemon).await, newer);
    assert_eq!(daemon.api.get("/platform/plugins/probe-service/trial").await.status, 404, "it is over");

    daemon.command(&["plugin", "rollback", "probe-service"]);
    assert_eq!(running(&daemon).await, first);
    daemon.api.gone(&id).await;
    daemon.finish();
    for folder in [plugins, mine] {
        std::fs::remove_dir_all(folder).expect("the copy goes");
    }
}
