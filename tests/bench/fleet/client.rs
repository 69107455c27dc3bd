//! Clients of the daemon, each with a connection of its own: as fast as they can, and at the pace of people.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::ensure;
use serde::Deserialize;
use tokio::time::sleep_until;

/// What clients met.
#[derive(Default, Clone)]
pub struct Latencies(Vec<Duration>);

impl Latencies {
    pub fn of(mut all: Vec<Duration>) -> Self {
        all.sort_unstable();
        Self(all)
    }

    /// So many of a thousand were not slower.
    pub fn at(&self, of_a_thousand: usize) -> Duration {
        let last = self.0.len().saturating_sub(1);
        self.0.get(last * of_a_thousand / 1000).copied().unwrap_or_default()
    }

    pub fn count(&self) -> usize {
        self.0.len()
    }
}

/// What one client asks for, in one go.
#[derive(Clone, Copy)]
pub enum Question {
    /// One project, another one each time.
    One,
    /// The first fifty: a page as a list comes when nobody says how long.
    Page,
    /// All projects, page after page of two hundred.
    All,
}

/// What is read of a page. What a client makes of the rest is the client's time, and not measured here.
#[derive(Deserialize)]
struct Page {
    projects: Vec<Listed>,
    next_cursor: Option<String>,
}

#[derive(Deserialize)]
struct Listed {
    id: String,
}

/// The daemon's REST API.
#[derive(Clone)]
pub struct Api {
    base: String,
    token: String,
    refs: Arc<Vec<String>>,
}

impl Api {
    pub fn new(port: u16, token: String) -> Self {
        Self { base: format!("http://127.0.0.1:{port}"), token, refs: Arc::default() }
    }

    /// Whether it takes changes.
    pub async fn is_ready(&self, client: &reqwest::Client) -> bool {
        let answer = client.get(format!("{}/readyz", self.base)).send().await;
        answer.is_ok_and(|answer| answer.status().is_success())
    }

    /// Learns all refs.
    pub async fn learn(&mut self) -> anyhow::Result<usize> {
        self.refs = Arc::new(self.all(&client()?).await?);
        Ok(self.refs.len())
    }

    async fn all(&self, client: &reqwest::Client) -> anyhow::Result<Vec<String>> {
        let (mut refs, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = self.get(client, &format!("/platform/projects?limit=200{cursor}")).await?;
            let page: Page = serde_json::from_slice(&page)?;
            refs.extend(page.projects.into_iter().map(|project| project.id));
            match page.next_cursor {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return Ok(refs),
            }
        }
    }

    async fn get(&self, client: &reqwest::Client, path: &str) -> anyhow::Result<Vec<u8>> {
        let answer = client.get(format!("{}{path}", self.base)).bearer_auth(&self.token).send().await?;
        let status = answer.status();
        let body = answer.bytes().await?;
        ensure!(status.is_success(), "{path}: {status}: {}", String::from_utf8_lossy(&body));
        Ok(body.to_vec())
    }

    async fn ask(&self, client: &reqwest::Client, question: Question, number: usize) -> anyhow::Result<()> {
        match question {
            Question::One => {
                let id = &self.refs[number % self.refs.len()];
                self.get(client, &format!("/platform/projects/{id}")).await.map(drop)
            }
            Question::Page => self.get(client, "/platform/projects").await.map(drop),
            Question::All => {
                let refs = self.all(client).await?;
                ensure!(refs.len() == self.refs.len(), "{} projects instead of {}", refs.len(), self.refs.len());
                Ok(())
            }
        }
    }

    /// So many clients for so long. `every`: each asks once in that time, spread evenly; without it at once again.
    pub async fn load(
        &self,
        clients: usize,
        question: Question,
        every: Option<Duration>,
        lasts: Duration,
    ) -> anyhow::Result<Latencies> {
        let begun = tokio::time::Instant::now();
        let tasks = (0..clients).map(|number| {
            let api = self.clone();
            tokio::spawn(async move {
                let client = client()?;
                api.ask(&client, question, number).await?;
                let mut took = Vec::new();
                let mut turn = 0_u32;
                while begun.elapsed() < lasts {
                    if let Some(every) = every {
                        sleep_until(begun + every * turn + every * u32::try_from(number)? / u32::try_from(clients)?).await;
                    }
                    let asked = Instant::now();
                    api.ask(&client, question, number + usize::try_from(turn)? * clients).await?;
                    took.push(asked.elapsed());
                    turn += 1;
                }
                anyhow::Ok(took)
            })
        });
        let mut all = Vec::new();
        for task in tasks.collect::<Vec<_>>() {
            all.extend(task.await??);
        }
        Ok(Latencies::of(all))
    }
}

pub fn client() -> anyhow::Result<reqwest::Client> {
    Ok(supamanager::web::plain().pool_max_idle_per_host(1).timeout(Duration::from_secs(60)).build()?)
}
