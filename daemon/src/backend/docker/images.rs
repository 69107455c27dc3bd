//! Images: what is there, and pulls, which the engine reports as a stream of lines behind a 200 that may hold an
//! error (bollard #242) or stop moving without ending (moby #42312).

use std::collections::HashMap;
use std::time::Duration;

use bollard::models::CreateImageInfo;
use bollard::query_parameters::CreateImageOptionsBuilder;
use futures_util::StreamExt;
use tokio::time::Instant;

use super::DockerBackend;
use super::errors::{Cause, Failure};
use crate::backend::{BackendError, Progress, Result};
use crate::stack::ImageReference;

/// A person reads it, and each message is an event for every watcher.
const REPORT_EVERY: Duration = Duration::from_millis(500);
const MIB: i64 = 1 << 20;

impl DockerBackend {
    pub(super) async fn local_image(&self, reference: &str) -> Result<Option<String>> {
        match self.read(reference, |docker| async move { docker.inspect_image(reference).await }).await {
            Ok(found) => Ok(found.id),
            Err(failure) if matches!(failure.cause, Cause::NotFound | Cause::NoSuchImage) => Ok(None),
            Err(failure) => Err(failure.into()),
        }
    }

    pub(super) async fn pull_image(&self, reference: &str, no_progress: Duration, progress: Progress<'_>) -> Result<String> {
        let unfit = |reason: String| BackendError::ImageUnavailable { image: reference.to_owned(), reason };
        // In full: without a tag the engine pulls every tag of the repository.
        let full = ImageReference::parse(reference).map_err(unfit)?.to_string();
        let options = CreateImageOptionsBuilder::new().from_image(&full).build();
        let what = format!("pull {reference}");
        let stream =
            self.call(&what, no_progress, |docker| async move { Ok(docker.create_image(Some(options), None, None)) }).await?;
        let mut stream = std::pin::pin!(stream);
        let mut layers = Layers::default();
        let mut moved = Instant::now();
        let mut reported = None::<Instant>;
        loop {
            let item = match tokio::time::timeout_at(moved + no_progress, stream.next()).await {
                Err(_) => return Err(Failure::timed_out(&what, no_progress).into()),
                Ok(None) => break,
                Ok(Some(item)) => item.map_err(|error| Failure::read(&what, error).about_image(reference))?,
            };
            if let Some(reason) = item.error_detail.as_ref().and_then(|detail| detail.message.clone()) {
                return Err(unfit(reason));
            }
            if layers.moved(&item) {
                moved = Instant::now();
                if reported.is_none_or(|at| at.elapsed() >= REPORT_EVERY) {
                    reported = Some(moved);
                    progress(layers.sentence());
                }
            }
        }
        self.local_image(reference).await?.ok_or_else(|| unfit("it was pulled and is not there".to_owned()))
    }
}

/// What has been heard of each layer.
#[derive(Default)]
struct Layers(HashMap<String, Layer>);

#[derive(Default)]
struct Layer {
    status: String,
    current: i64,
    total: i64,
}

impl Layers {
    /// Whether this line is progress. A layer that counts down to a retry is not, nor one that says the same again.
    fn moved(&mut self, item: &CreateImageInfo) -> bool {
        let status = item.status.clone().unwrap_or_default();
        if status.starts_with("Retrying") || status.starts_with("Waiting") {
            return false;
        }
        let layer = self.0.entry(item.id.clone().unwrap_or_default()).or_default();
        let detail = item.progress_detail.clone().unwrap_or_default();
        let current = detail.current.unwrap_or(0);
        let moved = if layer.status == status { current > layer.current } else { true };
        if status == "Downloading" {
            layer.total = detail.total.unwrap_or(layer.total);
            layer.current = layer.current.max(current);
        } else {
            layer.current = if layer.status == status { layer.current.max(current) } else { current };
        }
        layer.status = status;
        moved
    }

    fn sentence(&self) -> String {
        let total: i64 = self.0.values().map(|layer| layer.total).sum();
        let done: i64 =
            self.0.values().map(|layer| if layer.status == "Downloading" { layer.current } else { layer.total }).sum();
        if total == 0 {
            return "asking the registry".to_owned();
        }
        format!("{} of {} MiB", done / MIB, (total + MIB - 1) / MIB)
    }
}

#[cfg(test)]
mod tests {
    use bollard::models::ProgressDetail;

    use super::*;

    fn line(id: &str, status: &str, current: i64, total: i64) -> CreateImageInfo {
        CreateImageInfo {
            id: Some(id.to_owned()),
            status: Some(status.to_owned()),
            progress_detail: Some(ProgressDetail { current: Some(current), total: Some(total) }),
            ..CreateImageInfo::default()
        }
    }

    #[test]
    fn only_what_moves_is_progress() {
        let mut layers = Layers::default();
        assert!(layers.moved(&line("a", "Downloading", 1 << 20, 4 << 20)));
        assert!(!layers.moved(&line("a", "Downloading", 1 << 20, 4 << 20)));
        assert!(layers.moved(&line("a", "Downloading", 2 << 20, 4 << 20)));
        assert_eq!(layers.sentence(), "2 of 4 MiB");
        for seconds in ["Retrying in 5 seconds", "Retrying in 4 seconds", "Waiting"] {
            assert!(!layers.moved(&line("a", seconds, 0, 0)));
        }
        assert!(layers.moved(&line("a", "Download complete", 0, 0)));
        assert_eq!(layers.sentence(), "4 of 4 MiB");
        assert!(layers.moved(&line("a", "Extracting", 1, 4 << 20)));
        assert!(!layers.moved(&line("a", "Extracting", 1, 4 << 20)));
    }
}
