//! The operator's webhook, against a receiver that is down, slow to agree, and checks what it gets with another
//! implementation of the signature.

mod outside;

use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::world::{Daemon, Engine, Options};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const SOON: Duration = Duration::from_secs(60);

/// One request as it came, and what it was answered.
#[derive(Clone, Debug)]
struct Got {
    id: String,
    timestamp: String,
    signature: String,
    text: String,
    status: u16,
}

impl Got {
    fn body(&self) -> Value {
        serde_json::from_str(&self.text).expect("JSON")
    }

    /// Computed by Python, which shares nothing with the daemon.
    fn is_signed(&self) -> bool {
        let script = "import base64,hmac,sys; key=base64.b64decode(sys.argv[1][6:]); \
            sys.stdout.write('v1,'+base64.b64encode(hmac.new(key,sys.stdin.buffer.read(),'sha256').digest()).decode())";
        let mut python = Command::new("python3");
        python.args(["-c", script, SECRET]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut python = python.spawn().expect("python3");
        let signed = format!("{}.{}.{}", self.id, self.timestamp, self.text);
        python.stdin.take().expect("a pipe").write_all(signed.as_bytes()).expect("written");
        let made = python.wait_with_output().expect("an answer").stdout;
        !made.is_empty() && String::from_utf8_lossy(&made) == self.signature
    }
}

/// Listens until it is dropped, and answers with the next of these statuses, 204 after the last.
struct Receiver {
    url: String,
    got: Arc<Mutex<Vec<Got>>>,
    answers: Arc<Mutex<Vec<u16>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Receiver {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}/hook", listener.local_addr().expect("an address"));
        let got: Arc<Mutex<Vec<Got>>> = Arc::default();
        let answers: Arc<Mutex<Vec<u16>>> = Arc::default();
        let (heard, next) = (got.clone(), answers.clone());
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (heard, next) = (heard.clone(), next.clone());
                tokio::spawn(async move {
                    let status = {
                        let mut next = next.lock().expect("a lock");
                        if next.is_empty() { 204 } else { next.remove(0) }
                    };
                    if let Some(request) = answer(stream, status).await {
                        heard.lock().expect("a lock").push(request);
                    }
                });
            }
        });
        Self { url, got, answers, task }
    }

    fn will_answer(&self, statuses: &[u16]) {
        *self.answers.lock().expect("a lock") = statuses.to_vec();
    }

    fn got(&self) -> Vec<Got> {
        self.got.lock().expect("a lock").clone()
    }

    /// Until so many have come.
    async fn has(&self, count: usize, daemon: &Daemon) -> Vec<Got> {
        let begun = Instant::now();
        while self.got().len() < count {
            assert!(begun.elapsed() < SOON, "{} of {count} came: {:#?}\n{}", self.got().len(), self.got(), daemon.log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        self.got()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer(mut stream: TcpStream, status: u16) -> Option<Got> {
    let mut bytes = Vec::new();
    let (head, length) = loop {
        let mut chunk = [0; 4096];
        let read = stream.read(&mut chunk).await.ok().filter(|read| *read > 0)?;
        bytes.extend_from_slice(&chunk[..read]);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length: usize = header(head, "content-length").parse().ok()?;
            if body.len() >= length {
                break (head.to_owned(), length);
            }
        }
    };
    let text = String::from_utf8(bytes[bytes.len() - length..].to_vec()).ok()?;
    let elsewhere = if status == 302 { "location: http://127.0.0.1:1/\r\n" } else { "" };
    let reply = format!("HTTP/1.1 {status} Said\r\n{elsewhere}content-length: 0\r\nconnection: close\r\n\r\n");
    stream.write_all(reply.as_bytes()).await.ok()?;
    let of = |name| header(&head, name);
    Some(Got { id: of("webhook-id"), timestamp: of("webhook-timestamp"), signature: of("webhook-signature"), text, status })
}

fn header(head: &str, name: &str) -> String {
    let lines = head.lines().filter_map(|line| line.split_once(": "));
    let mut found = lines.filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_owned());
    found.next().unwrap_or_default()
}

fn options(receiver: &Receiver) -> Options {
    Options::tiny()
        .set("SUPAMANAGER_NOTIFY_URL", receiver.url.as_str())
        .set("SUPAMANAGER_NOTIFY_SECRET", SECRET)
        .set("SUPAMANAGER_NOTIFY_RETRY_S", "1")
        .set("SUPAMANAGER_NOTIFY_DEADLINE_S", "2")
}

#[tokio::test]
async fn a_full_project_and_a_full_disk_are_told() {
    let receiver = Receiver::start().await;
    let options = options(&receiver).set("SUPAMANAGER_NOTIFY_EVENTS", "budget,disk");
    let mut daemon = Daemon::ready("webhook-full", options).await;
    let body = json!({"name": "full", "resources": {"storage": "10MB"}});
    let id = daemon.api.healthy(body).await["id"].as_str().expect("an id").to_owned();
    std::fs::write(daemon.data.join("projects").join(&id).join("large"), vec![7; 9_000_000]).expect("a file");
    let budget = receiver.has(1, &daemon).await[0].body();
    assert_eq!(
        (&budget["kind"], &budget["project"], &budget["to"]),
        (&json!("budget"), &json!(id), &json!("warned")),
        "{budget:#}"
    );
    assert!(budget["reason"].as_str().is_some_and(|reason| reason.contains("of 10")), "{budget:#}");
    std::fs::remove_file(daemon.data.join("projects").join(&id).join("large")).expect("removed");
    daemon.api.gone(&id).await;
    daemon.stop();
    // No disk has as much.
    daemon.launch(&[("SUPAMANAGER_LIMITS_DISK_FREE_MIN", "900TB")]);
    daemon.reachable("/readyz").await;
    let all = receiver.has(2, &daemon).await;
    let disk = all.last().expect("one").body();
    assert_eq!((&disk["kind"], &disk["to"]), (&json!("disk"), &json!("low")), "{disk:#}");
    assert!(disk["reason"].as_str().is_some_and(|reason| reason.contains("limits.disk_free_min")), "{disk:#}");
    let refused = daemon.api.post("/platform/projects", json!({"name": "one too many"})).await;
    assert_eq!(refused.status, 507, "{}", refused.body);
    daemon.finish();
}

#[tokio::test]
async fn a_change_of_status_is_told_once_signed_and_again_until_it_is_taken() {
    let receiver = Receiver::start().await;
    receiver.will_answer(&[500, 302]);
    let daemon = Daemon::ready("webhook", options(&receiver)).await;
    let id = daemon.api.healthy(json!({"name": "told of"})).await["id"].as_str().expect("an id").to_owned();
    let got = receiver.has(3, &daemon).await;
    assert_eq!(got.iter().map(|got| got.status).collect::<Vec<_>>(), [500, 302, 204], "an error and a redirect are not taken");
    for one in &got {
        assert!(one.is_signed(), "{one:#?}");
        assert_eq!((&one.id, &one.text), (&got[0].id, &got[0].text), "the same message each time");
    }
    let body = got[0].body();
    assert_eq!((body["kind"].as_str(), body["project"].as_str()), (Some("status"), Some(id.as_str())), "{body:#}");
    assert_eq!((&body["from"], &body["to"], &body["name"]), (&json!("CREATING"), &json!("ACTIVE_HEALTHY"), &json!("told of")));
    assert_eq!(body["id"], got[0].id.as_str());
    // A restart ends where it began: no news. A pause is.
    let verb = async |verb: &str| daemon.api.post(&format!("/platform/projects/{id}/{verb}"), json!({})).await.status;
    assert_eq!(verb("restart").await, 202);
    daemon.api.settled(&id, &["ACTIVE_HEALTHY"], SOON).await;
    assert_eq!(verb("pause").await, 202);
    let got = receiver.has(4, &daemon).await;
    assert_eq!(
        (got.len(), got[3].body()["from"].as_str(), got[3].body()["to"].as_str()),
        (4, Some("ACTIVE_HEALTHY"), Some("PAUSED"))
    );
    daemon.api.settled(&id, &["PAUSED"], SOON).await;
    let list = daemon.api.get("/platform/notifications?state=sent").await;
    assert_eq!((list.status, list.body["notifications"].as_array().map(Vec::len)), (200, Some(2)), "{}", list.body);
    assert_eq!(list.body["notifications"][1]["tries"], 3);
    let wrong = daemon.api.get("/platform/notifications?state=lost").await;
    assert_eq!((wrong.status, wrong.body["field"].as_str()), (400, Some("state")), "{}", wrong.body);
    assert!(!daemon.log().contains("MfKQ9r8GKYqr") && !daemon.log().contains("/hook"), "neither secret nor address is logged");
    daemon.api.gone(&id).await;
    assert_eq!(receiver.has(5, &daemon).await[4].body()["to"], "DELETED");
    daemon.finish();
}

#[tokio::test]
async fn a_message_survives_a_kill_and_one_that_nobody_takes_is_kept_as_failed() {
    let receiver = Receiver::start().await;
    receiver.will_answer(&[503; 100]);
    let options = options(&receiver).set("SUPAMANAGER_NOTIFY_TRIES", "4").expecting("was given up");
    let mut daemon = Daemon::ready("webhook-kill", options).await;
    let id = daemon.api.healthy(json!({"name": "killed"})).await["id"].as_str().expect("an id").to_owned();
    let first = receiver.has(1, &daemon).await[0].clone();
    daemon.kill();
    let before = receiver.got().len();
    daemon.revive().await;
    let again = receiver.has(before + 1, &daemon).await[before].clone();
    assert_eq!((&again.id, &again.text), (&first.id, &first.text), "the same message from the next life");
    let begun = Instant::now();
    let failed = loop {
        let failed = daemon.api.get("/platform/notifications?state=failed").await.body;
        if !failed["notifications"][0].is_null() {
            break failed["notifications"][0].clone();
        }
        assert!(begun.elapsed() < SOON, "it is tried for ever\n{}", daemon.log());
        tokio::time::sleep(Duration::from_millis(200)).await;
    };
    assert_eq!(
        (&failed["tries"], &failed["error"], &failed["next_try_at"]),
        (&json!(4), &json!("it answered 503"), &Value::Null)
    );
    assert!(
        daemon.api.get("/metrics").await.body.as_str().is_some_and(|text| text.contains("kind=\"status\",outcome=\"failed\""))
    );
    // What comes later is told all the same.
    receiver.will_answer(&[]);
    Engine.docker(&["kill", &format!("supamanager-{id}-front")]);
    let begun = Instant::now();
    while !receiver.got().iter().any(|got| got.status == 204 && got.body()["to"] == "ACTIVE_UNHEALTHY" && got.is_signed()) {
        assert!(begun.elapsed() < SOON, "{:#?}\n{}", receiver.got(), daemon.log());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    daemon.api.settled(&id, &["ACTIVE_HEALTHY"], SOON).await;
    daemon.api.gone(&id).await;
    daemon.finish();
}
