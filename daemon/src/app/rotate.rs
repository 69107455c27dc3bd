//! Another master key for an installation, at rest.
//!
//! Every secret is opened and sealed again in memory, and one transaction moves all rows and the installation from the old
//! key to the new one. That is the whole of crash safety on the store's side: before the commit everything is under the old
//! key, after it everything is under the new one, and a second run begins from whichever it finds. `keyfile.rs` says how
//! the key files follow.

use std::path::Path;

use anyhow::{Context, anyhow, bail};

use super::{Lock, Opened, keyfile, open};
use crate::clock::Clock;
use crate::config::Config;
use crate::domain::Secret;
use crate::lifecycle::{Failpoints, Position};
use crate::secrets::MasterKey;
use crate::store::Sealed;

/// Where the next master key comes from.
#[derive(Clone)]
pub enum NextKey {
    /// The next ENCRYPTION_SECRET.
    Passphrase(Secret<String>),
    /// A new key file in the data folder.
    File,
}

/// How a change of the master key ended.
#[derive(Debug, PartialEq, Eq)]
pub struct Rotated {
    /// Id of the key before; `None` when an earlier, killed run had moved the store already.
    pub from: Option<String>,
    /// Id of the key now.
    pub to: String,
    /// Secrets that were sealed anew.
    pub secrets: usize,
    /// The name under which the old key file was kept.
    pub kept: Option<String>,
}

/// Puts every secret of the data folder under another master key. The daemon must not run: this takes the folder's lock.
///
/// # Errors
/// A running daemon, a key that does not open the store, a secret that does not open: nothing has changed then.
pub async fn rotate(
    config: &Config,
    secret: Option<Secret<String>>,
    next: NextKey,
    clock: &Clock,
    failpoints: &Failpoints,
) -> anyhow::Result<Rotated> {
    let folder = &config.data_dir;
    if !folder.join("installation").is_file() {
        bail!("{} holds no installation: set data_dir to the folder of the daemon", folder.display());
    }
    let opened = match open(config, secret, clock, Lock::Take).await {
        Ok(opened) => opened,
        Err(error) => return already(config, &next, clock).await.ok_or(error),
    };
    let rotated = move_to(folder, &opened, &next, failpoints).await;
    opened.store.close().await;
    rotated
}

async fn move_to(folder: &Path, opened: &Opened, next: &NextKey, failpoints: &Failpoints) -> anyhow::Result<Rotated> {
    let text = match next {
        NextKey::Passphrase(text) => text.clone(),
        NextKey::File => keyfile::next(folder)?,
    };
    passed(failpoints, "next-key", Position::AfterEffect).await?;
    let key = MasterKey::derive(&text, &opened.installation)?;
    if key.id() == opened.key.id() {
        bail!("the store is under this key already: give another one");
    }
    let rows = opened.store.all_sealed().await?;
    let sealed = rows.iter().map(|row| seal_anew(&opened.key, &key, row)).collect::<anyhow::Result<Vec<Sealed>>>()?;
    let hash_key = key.seal_hash_key_of(&opened.key)?;
    passed(failpoints, "rows", Position::BeforeIntent).await?;
    opened.store.reseal(opened.key.id(), key.id(), &hash_key, &sealed).await.context("nothing has changed")?;
    passed(failpoints, "rows", Position::AfterEffect).await?;
    let kept = keyfile::put_aside(folder, &opened.installation)?;
    passed(failpoints, "old-key", Position::AfterEffect).await?;
    match next {
        NextKey::Passphrase(_) => keyfile::retire(folder)?,
        NextKey::File => keyfile::put_in_place(folder)?,
    }
    passed(failpoints, "key-file", Position::AfterEffect).await?;
    Ok(Rotated { from: Some(opened.key.id().to_owned()), to: key.id().to_owned(), secrets: sealed.len(), kept })
}

/// A place where a test stops or kills the run.
async fn passed(failpoints: &Failpoints, place: &str, position: Position) -> anyhow::Result<()> {
    let place = format!("rotate-master.{place}");
    failpoints.pass(&place, position).await.map_err(|error| anyhow!(error.failure.message))
}

/// What is sealed anew is opened once before the old seal goes: a fault here must cost a run, not a secret.
fn seal_anew(old: &MasterKey, new: &MasterKey, row: &Sealed) -> anyhow::Result<Sealed> {
    let place = || format!("project {}", row.project);
    let value = old.open(&row.project, &row.name, &row.key_id, &row.bytes).with_context(place)?;
    let bytes = new.seal(&row.project, &row.name, &value)?;
    let again = new.open(&row.project, &row.name, new.id(), &bytes).with_context(place)?;
    if again.expose() != value.expose() {
        bail!("project {}: secret `{}` does not survive sealing; nothing has changed", row.project, row.name);
    }
    Ok(Sealed { key_id: new.id().to_owned(), bytes, ..row.clone() })
}

/// An earlier run may have been killed after the commit: then the old key opens nothing and the new one does. What is
/// left to do are the key files.
async fn already(config: &Config, next: &NextKey, clock: &Clock) -> Option<Rotated> {
    let folder = &config.data_dir;
    let secret = match next {
        NextKey::Passphrase(secret) => Some(secret.clone()),
        NextKey::File => None,
    };
    let opened = open(config, secret, clock, Lock::Take).await.ok()?;
    let mut rotated = Rotated { from: None, to: opened.key.id().to_owned(), secrets: 0, kept: None };
    opened.store.close().await;
    if let NextKey::Passphrase(_) = next {
        rotated.kept = keyfile::put_aside(folder, &opened.installation).ok()?;
        keyfile::retire(folder).ok()?;
    }
    Some(rotated)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::sync::Arc;

    use async_trait::async_trait;

    use super::super::KEY_FILE;
    use super::*;
    use crate::domain::{OperationKind, ProjectRef};
    use crate::lifecycle::{Listener, StepError};
    use crate::secrets::{ProjectSecrets, new_hex};
    use crate::store::{NewOperation, NewProject};

    /// Every place that a change of the key passes, in order.
    const PLACES: [(&str, Position); 5] = [
        ("rotate-master.next-key", Position::AfterEffect),
        ("rotate-master.rows", Position::BeforeIntent),
        ("rotate-master.rows", Position::AfterEffect),
        ("rotate-master.old-key", Position::AfterEffect),
        ("rotate-master.key-file", Position::AfterEffect),
    ];

    struct DieAt(&'static str, Position);

    #[async_trait]
    impl Listener for DieAt {
        async fn reached(&self, place: &str, position: Position) -> Result<(), StepError> {
            match (place, position) == (self.0, self.1) {
                true => Err(StepError::permanent("killed", "killed here".to_owned())),
                false => Ok(()),
            }
        }
    }

    struct Scratch(PathBuf);

    impl Scratch {
        fn new() -> Self {
            Self(std::env::temp_dir().join(format!("supamanager-rotate-{}", new_hex(8).expect("a name"))))
        }

        fn config(&self) -> Config {
            Config { data_dir: self.0.clone(), ..Config::default() }
        }

        /// Two projects with two secrets each.
        async fn filled(&self, secret: Option<Secret<String>>) -> String {
            let opened = open(&self.config(), secret, &Clock::system(), Lock::Take).await.expect("opened");
            for letter in ["a", "b"] {
                let id = ProjectRef::parse(&letter.repeat(20)).expect("a ref");
                let sealed = |name: &str| (name.to_owned(), opened.key.seal(&id, name, &value(letter, name)).expect("sealed"));
                let project = NewProject {
                    id: id.clone(),
                    name: letter.to_owned(),
                    organization_id: "default".to_owned(),
                    region: "us-east".to_owned(),
                    template_set: "supabase".to_owned(),
                    image_set: "supabase".to_owned(),
                    without: Vec::new(),
                    plugins: Default::default(),
                    resources: Default::default(),
                    ports: Vec::new(),
                    subnet: letter.to_owned(),
                    secrets: vec![sealed("ONE"), sealed("TWO")],
                    key_id: opened.key.id().to_owned(),
                    caller: String::new(),
                    idempotency: None,
                };
                let operation = NewOperation {
                    id: crate::domain::OperationId::parse(&new_operation_id(letter)).expect("an id"),
                    project: id,
                    kind: OperationKind::Create,
                    generation: 1,
                    services: Vec::new(),
                    update: None,
                    requested_by: String::new(),
                    plugins: Vec::new(),
                    deadline_at: 0,
                };
                opened.store.accept_create(&project, &operation, 0).await.expect("accepted");
            }
            let hash = opened.key.hash(&["a container"]);
            opened.store.close().await;
            hash
        }

        /// Opens the folder and all its secrets; the hash of the same thing as before.
        async fn hash_when_all_opens(&self, secret: Option<Secret<String>>) -> anyhow::Result<String> {
            let opened = open(&self.config(), secret, &Clock::system(), Lock::Take).await?;
            for letter in ["a", "b"] {
                let id = ProjectRef::parse(&letter.repeat(20)).expect("a ref");
                let sealed = opened.store.sealed_secrets(&id).await?;
                let secrets = ProjectSecrets::open(&opened.key, &id, &sealed)?;
                for name in ["ONE", "TWO"] {
                    assert_eq!(secrets.get(name).expect("there").expose(), value(letter, name).expose());
                }
            }
            opened.store.close().await;
            Ok(opened.key.hash(&["a container"]))
        }

        async fn rotate(&self, secret: Option<&str>, next: NextKey, failpoints: Failpoints) -> anyhow::Result<Rotated> {
            rotate(&self.config(), secret.map(text), next, &Clock::system(), &failpoints).await
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn new_operation_id(letter: &str) -> String {
        format!("op_{}", letter.repeat(24))
    }

    fn value(letter: &str, name: &str) -> Secret<String> {
        Secret::new(format!("{letter} {name} of a test"))
    }

    fn text(secret: &str) -> Secret<String> {
        Secret::new(secret.repeat(40))
    }

    fn die_at((place, position): (&'static str, Position)) -> Failpoints {
        Failpoints::heard_by(Arc::new(DieAt(place, position)))
    }

    #[tokio::test]
    async fn killed_at_every_place_all_secrets_open_with_the_key_files_that_are_there() {
        for place in PLACES {
            let folder = Scratch::new();
            let hash = folder.filled(None).await;
            let died = folder.rotate(None, NextKey::File, die_at(place)).await.expect_err("it dies there");
            assert!(format!("{died:#}").contains("killed here"), "{place:?}: {died:#}");
            assert_eq!(folder.hash_when_all_opens(None).await.unwrap_or_else(|error| panic!("{place:?}: {error:#}")), hash);
            let rotated = folder.rotate(None, NextKey::File, Failpoints::default()).await.expect("the second run");
            assert_eq!((rotated.secrets, rotated.from.is_some()), (4, true), "{place:?}");
            assert_eq!(folder.hash_when_all_opens(None).await.expect("opens"), hash, "{place:?}");
            assert!(!folder.0.join("encryption.key.next").exists(), "{place:?}");
            assert!(folder.0.join(rotated.kept.expect("the old key")).is_file(), "{place:?}");
        }
    }

    #[tokio::test]
    async fn killed_at_every_place_all_secrets_open_with_the_old_passphrase_or_the_new_one() {
        for place in PLACES {
            let folder = Scratch::new();
            let hash = folder.filled(Some(text("o"))).await;
            let next = || NextKey::Passphrase(text("n"));
            folder.rotate(Some("o"), next(), die_at(place)).await.expect_err("it dies there");
            let (old, new) =
                (folder.hash_when_all_opens(Some(text("o"))).await, folder.hash_when_all_opens(Some(text("n"))).await);
            assert!(old.is_ok() != new.is_ok(), "{place:?}: one of them, and only one");
            assert_eq!(old.or(new).expect("one opens"), hash, "{place:?}");
            folder.rotate(Some("o"), next(), Failpoints::default()).await.expect("the second run ends it");
            assert_eq!(folder.hash_when_all_opens(Some(text("n"))).await.expect("opens"), hash, "{place:?}");
            let refused = folder.hash_when_all_opens(Some(text("o"))).await.expect_err("the old one is over");
            assert!(refused.to_string().contains("ENCRYPTION_SECRET"), "{refused}");
        }
    }

    #[tokio::test]
    async fn from_a_key_file_to_a_passphrase_and_back() {
        let folder = Scratch::new();
        let hash = folder.filled(None).await;
        let rotated = folder.rotate(None, NextKey::Passphrase(text("n")), Failpoints::default()).await.expect("rotated");
        let kept = folder.0.join(rotated.kept.expect("the old key file"));
        assert!(kept.is_file() && !folder.0.join(KEY_FILE).exists());
        let refused = folder.hash_when_all_opens(None).await.expect_err("there is no key file").to_string();
        assert!(refused.contains("ENCRYPTION_SECRET"), "{refused}");
        assert_eq!(folder.hash_when_all_opens(Some(text("n"))).await.expect("opens"), hash);
        // Killed after the commit: the next run has nothing to open with the old passphrase and finds the new key file.
        let place = ("rotate-master.rows", Position::AfterEffect);
        folder.rotate(Some("n"), NextKey::File, die_at(place)).await.expect_err("it dies there");
        let again = folder.rotate(Some("n"), NextKey::File, Failpoints::default()).await.expect("the second run");
        assert_eq!(again.from, None);
        assert_eq!(folder.hash_when_all_opens(None).await.expect("opens"), hash);
        assert!(folder.rotate(None, NextKey::Passphrase(Secret::new("short".to_owned())), Failpoints::default()).await.is_err());
        assert_eq!(folder.hash_when_all_opens(None).await.expect("still opens"), hash);
    }

    #[tokio::test]
    async fn rows_that_came_in_meanwhile_leave_everything_as_it_was() {
        let folder = Scratch::new();
        let hash = folder.filled(None).await;
        let opened = open(&folder.config(), None, &Clock::system(), Lock::Take).await.expect("opened");
        let mut rows = opened.store.all_sealed().await.expect("rows");
        rows.pop();
        let refused = opened.store.reseal(opened.key.id(), "another", b"x", &rows).await.expect_err("a row is missing");
        assert!(refused.to_string().contains("came in"), "{refused}");
        let refused = opened.store.reseal("another", "third", b"x", &rows).await.expect_err("not that key");
        assert!(refused.to_string().contains("not under key another"), "{refused}");
        opened.store.close().await;
        drop(opened);
        assert_eq!(folder.hash_when_all_opens(None).await.expect("opens"), hash);
    }
}
