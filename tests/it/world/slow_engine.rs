//! The machine's engine behind a socket of our own, on which some requests are late: the engine goes on with them
//! although nobody waits for the reply any more, as it does under load.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinHandle;

/// Where the engine of this machine listens.
const ENGINE: &str = "/var/run/docker.sock";

/// A part of a request line, and by how much such a request is late.
pub type Late = (&'static str, Duration);

/// Holds back changes whose request line holds a text. Ends with the value.
pub struct SlowEngine {
    socket: PathBuf,
    away: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl SlowEngine {
    /// Listens in a folder.
    pub fn start(folder: &Path, late: &'static [Late]) -> Self {
        let socket = folder.join("engine.sock");
        let listener = UnixListener::bind(&socket).expect("a socket");
        let away = Arc::new(AtomicBool::new(false));
        let gone = away.clone();
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                if !gone.load(Ordering::SeqCst) {
                    tokio::spawn(carry(client, late, gone.clone()));
                }
            }
        });
        Self { socket, away, task }
    }

    /// From now on nobody answers.
    pub fn away(&self) {
        self.away.store(true, Ordering::SeqCst);
    }

    /// The engine answers again.
    pub fn back(&self) {
        self.away.store(false, Ordering::SeqCst);
    }

    /// What goes into DOCKER_HOST.
    pub fn host(&self) -> String {
        format!("unix://{}", self.socket.display())
    }
}

impl Drop for SlowEngine {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Replies flow as they come. A request that is late reaches the engine even when its client has gone.
async fn carry(client: UnixStream, late: &[Late], away: Arc<AtomicBool>) {
    let engine = UnixStream::connect(ENGINE).await.expect("an engine");
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_engine, mut to_engine) = engine.into_split();
    let replies = tokio::spawn(async move { tokio::io::copy(&mut from_engine, &mut to_client).await });
    let mut buffer = vec![0; 1 << 20];
    while let Ok(read @ 1..) = from_client.read(&mut buffer).await {
        let request = String::from_utf8_lossy(&buffer[..read]);
        let line = request.lines().next().filter(|line| !line.starts_with("GET")).unwrap_or_default();
        if let Some((_, by)) = late.iter().find(|(part, _)| line.contains(part)) {
            tokio::time::sleep(*by).await;
        }
        if away.load(Ordering::SeqCst) || to_engine.write_all(&buffer[..read]).await.is_err() {
            break;
        }
    }
    if away.load(Ordering::SeqCst) {
        replies.abort();
    }
    let _ = replies.await;
}
