//! A proxy in front of the real engine that has its bad manners on demand.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream, UnixStream};

/// What the proxy does with a request.
#[derive(Clone, Copy)]
pub enum Act {
    /// The engine does it; its answer never arrives.
    LoseReply,
    /// The engine hears of it so many milliseconds later, whoever still waits.
    Late(u64),
    /// The engine never hears of it; this is the answer: status and message.
    Answer(u16, &'static str),
}

/// The next `times` requests whose first line holds `method` and `path`.
pub struct Manner {
    pub method: &'static str,
    pub path: &'static str,
    pub times: u32,
    pub act: Act,
}

/// Its address, and how many requests met a manner so far.
pub struct Proxy {
    pub host: String,
    manners: Arc<Mutex<Vec<Manner>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Proxy {
    pub async fn start(manners: Vec<Manner>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = format!("tcp://{}", listener.local_addr().unwrap());
        let manners = Arc::new(Mutex::new(manners));
        let shared = manners.clone();
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(serve(client, shared.clone()));
            }
        });
        Self { host, manners, task }
    }

    /// A manner nobody met proves nothing.
    pub fn assert_all_met(&self) {
        for manner in self.manners.lock().unwrap().iter() {
            assert_eq!(manner.times, 0, "{} {} was not asked for often enough", manner.method, manner.path);
        }
    }
}

trait Pipe: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Pipe for T {}

async fn engine() -> Box<dyn Pipe> {
    let host = std::env::var("DOCKER_HOST").unwrap_or_else(|_| "unix:///var/run/docker.sock".to_owned());
    match host.strip_prefix("unix://") {
        Some(path) => Box::new(UnixStream::connect(path).await.unwrap()),
        None => Box::new(TcpStream::connect(host.split("://").nth(1).unwrap()).await.unwrap()),
    }
}

/// One request: bollard opens a connection for each.
async fn serve(mut client: TcpStream, manners: Arc<Mutex<Vec<Manner>>>) {
    let mut request = Vec::new();
    let mut buffer = [0; 8192];
    let head = loop {
        match client.read(&mut buffer).await {
            Ok(read @ 1..) => request.extend_from_slice(&buffer[..read]),
            _ => return,
        }
        if let Some(end) = request.windows(4).position(|four| four == b"\r\n\r\n") {
            break end + 4;
        }
    };
    let text = String::from_utf8_lossy(&request[..head]).to_ascii_lowercase();
    let length = text.split_once("content-length: ").and_then(|(_, rest)| rest.lines().next()?.parse().ok()).unwrap_or(0);
    while request.len() < head + length {
        match client.read(&mut buffer).await {
            Ok(read @ 1..) => request.extend_from_slice(&buffer[..read]),
            _ => return,
        }
    }
    let line = text.lines().next().unwrap_or_default().to_owned();
    let act = manners.lock().unwrap().iter_mut().find_map(|manner| {
        let meant = manner.times > 0 && line.starts_with(&manner.method.to_ascii_lowercase()) && line.contains(manner.path);
        manner.times -= u32::from(meant);
        meant.then_some(manner.act)
    });
    match act {
        Some(Act::Answer(status, message)) => {
            let body = format!("{{\"message\":\"{message}\"}}");
            let answer = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len());
            let _ = client.write_all(answer.as_bytes()).await;
        }
        Some(Act::Late(wait_ms)) => {
            tokio::time::sleep(std::time::Duration::from_millis(wait_ms)).await;
            let mut engine = engine().await;
            engine.write_all(&request).await.unwrap();
            let _ = engine.read(&mut buffer).await;
        }
        Some(Act::LoseReply) => {
            let mut engine = engine().await;
            engine.write_all(&request).await.unwrap();
            // The engine has answered: what was asked for has happened.
            let _ = engine.read(&mut buffer).await;
        }
        None => {
            let mut engine = engine().await;
            engine.write_all(&request).await.unwrap();
            let _ = copy_bidirectional(&mut client, &mut engine).await;
        }
    }
}
