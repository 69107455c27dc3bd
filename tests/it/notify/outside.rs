//! A plugin that reaches outside: `notify-webhook` posts to a server with a certificate of its own, made by OpenSSL and served
//! by Python, which share nothing with the daemon. Only the host that the operator named is reached, and only where its name
//! may lead.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::world::{Daemon, Options, run, scratch};

/// Says its port, and then each body that is posted, a line each.
const SERVER: &str = "
import http.server, ssl, sys
class Posted(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers['content-length'])).decode()
        print(self.headers['authorization'], body, flush=True)
        self.send_response(204)
        self.end_headers()
    def log_message(self, *_): pass
server = http.server.HTTPServer(('127.0.0.1', 0), Posted)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[1], sys.argv[2])
server.socket = context.wrap_socket(server.socket, server_side=True)
print(server.server_address[1], flush=True)
server.serve_forever()
";

struct TlsServer {
    folder: PathBuf,
    port: u16,
    heard: Arc<Mutex<Vec<String>>>,
    child: Child,
}

impl TlsServer {
    fn start(host: &str) -> Self {
        let folder = scratch("tls-server");
        std::fs::create_dir_all(&folder).expect("a folder");
        let (certificate, key) = (folder.join("certificate.pem"), folder.join("key.pem"));
        let mut openssl = Command::new("openssl");
        openssl.args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj"]).arg(format!("/CN={host}"));
        openssl.arg("-addext").arg(format!("subjectAltName=DNS:{host}")).arg("-out").arg(&certificate).arg("-keyout").arg(&key);
        // An authority's certificate is no server's.
        openssl.args(["-addext", "basicConstraints=critical,CA:FALSE"]);
        run(openssl.stderr(Stdio::null()));
        let mut python = Command::new("python3");
        python.args(["-u", "-c", SERVER]).arg(&certificate).arg(&key).stdout(Stdio::piped());
        let mut child = python.spawn().expect("python3");
        let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let port = lines.next().expect("a line").expect("text").parse().expect("a port");
        let heard: Arc<Mutex<Vec<String>>> = Arc::default();
        let kept = heard.clone();
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(|line| kept.lock().expect("a lock").push(line)));
        Self { folder, port, heard, child }
    }

    fn heard(&self) -> Vec<String> {
        self.heard.lock().expect("a lock").clone()
    }

    fn certificate(&self) -> PathBuf {
        self.folder.join("certificate.pem")
    }
}

impl Drop for TlsServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn options(trusted: &Path, egress: &Value, url: &str) -> Options {
    let told = json!({"notify-webhook": {"url": url, "format": "text", "headers": {"authorization": "Bearer room"}}});
    Options::tiny()
        .set("SSL_CERT_FILE", trusted.display().to_string())
        .set("SUPAMANAGER_PLUGIN_EGRESS", json!({ "notify-webhook": egress }).to_string())
        .set("SUPAMANAGER_PLUGIN_OPTIONS", told.to_string())
        .set("SUPAMANAGER_NOTIFY_RETRY_S", "1")
}

#[tokio::test]
async fn a_chat_room_is_told_over_tls_once_its_host_is_granted() {
    let server = TlsServer::start("chat.test");
    let (port, url) = (server.port, format!("https://chat.test:{}/room", server.port));
    let options = options(&server.certificate(), &json!([format!("chat.test:{port}=127.0.0.1")]), &url);
    let daemon = Daemon::ready("outside", options).await;
    let id = daemon.api.healthy(json!({"name": "told"})).await["id"].as_str().expect("an id").to_owned();
    let begun = Instant::now();
    while server.heard().is_empty() {
        assert!(begun.elapsed() < Duration::from_secs(60), "nothing came\n{}", daemon.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let expected = json!({"text": format!("told ({id}) is ACTIVE_HEALTHY, it was CREATING")});
    assert_eq!(server.heard(), [format!("Bearer room {expected}")]);
    daemon.api.gone(&id).await;
    daemon.finish();
}

#[tokio::test]
async fn a_server_whose_certificate_nobody_vouches_for_is_told_nothing() {
    let (server, another) = (TlsServer::start("chat.test"), TlsServer::start("chat.test"));
    let (port, url) = (server.port, format!("https://chat.test:{}/room", server.port));
    let options = options(&another.certificate(), &json!([format!("chat.test:{port}=127.0.0.1")]), &url);
    let daemon = Daemon::ready("outside-tls", options.expecting("did not take a message")).await;
    let id = daemon.api.healthy(json!({"name": "told"})).await["id"].as_str().expect("an id").to_owned();
    let words = until(&daemon, |usage| usage["last_error"]["message"].as_str().map(str::to_owned)).await;
    assert!(words.contains("not trusted") && words.contains("certificate") && !words.contains("/room"), "{words}");
    assert!(server.heard().is_empty(), "{:?}", server.heard());
    daemon.api.gone(&id).await;
    daemon.finish();
}

/// Asks what the plugin's calls have used until that says something.
async fn until(daemon: &Daemon, says: impl Fn(&Value) -> Option<String>) -> String {
    let begun = Instant::now();
    loop {
        let plugin = daemon.api.get("/platform/plugins/notify-webhook").await.body;
        if let Some(words) = says(&plugin["hooks"][0]["usage"]) {
            return words;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "{plugin:#}\n{}", daemon.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_host_that_is_not_granted_or_leads_inside_is_not_reached() {
    let server = TlsServer::start("localhost");
    let port = server.port;
    for (name, egress) in [("outside-no", json!([])), ("outside-in", json!([format!("localhost:{port}")]))] {
        let url = format!("https://localhost:{port}/room");
        let daemon = Daemon::ready(name, options(&server.certificate(), &egress, &url)).await;
        let id = daemon.api.healthy(json!({"name": "told"})).await["id"].as_str().expect("an id").to_owned();
        let was_denied = |usage: &Value| {
            let words = usage["last_error"]["message"].as_str().unwrap_or_default().to_owned();
            (usage["denied"]["egress"].as_u64() > Some(0)).then_some(words)
        };
        let denied = until(&daemon, was_denied).await;
        assert!(denied.contains("plugin_egress") && !denied.contains("/room"), "{denied}");
        daemon.api.gone(&id).await;
        daemon.finish();
    }
    assert!(server.heard().is_empty(), "{:?}", server.heard());
}
