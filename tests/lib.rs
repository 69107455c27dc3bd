//! What the suites share. The suites themselves: `it/` (the real binary on a real engine), `sim/` (the lifecycle on
//! the fake engine, with time that jumps), `docker/` (the Docker backend against real engines), `store/` (the store on
//! both databases).

pub mod databases;
pub mod fake;

/// Writes one number per line into the file that `SUPAMANAGER_TEST_TIMES` names, if it does: `tests/soak.sh` puts those
/// of all its parts together.
///
/// # Panics
/// When the file cannot be written.
pub fn keep_times<T: std::fmt::Display>(times: &[T]) {
    if let Ok(file) = std::env::var("SUPAMANAGER_TEST_TIMES") {
        let lines: String = times.iter().map(|time| format!("{time}\n")).collect();
        std::fs::write(file, lines).expect("the file of SUPAMANAGER_TEST_TIMES");
    }
}

/// A client for what listens on this machine.
///
/// # Panics
/// When none can be made.
pub fn http() -> reqwest::Client {
    supamanager::web::plain().build().expect("a client")
}

/// One request of it.
///
/// # Errors
/// That nobody answers.
pub async fn get(url: impl reqwest::IntoUrl) -> reqwest::Result<reqwest::Response> {
    http().get(url).send().await
}
