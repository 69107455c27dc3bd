//! The outbox of the operator's webhook. What is told is written in the transaction that makes it true, so it survives
//! a kill; it is claimed before it is sent, so a message that was begun is not changed any more.
//!
//! Flapping is folded: the same news of the same project waits until the window after its last telling is over. What
//! changes meanwhile changes the waiting message, and one that ends where it began is not sent at all. So whoever listens
//! hears few messages and is never left with an old truth.

use rand::RngExt;
use sqlx::Row;
use sqlx::any::AnyRow;

use super::{Result, Store, Tx, parse, text, word};
use crate::domain::{Caller, Notice, NoticeKind, NoticeState, ProjectRef, ProjectStatus, UnixMillis};

/// Messages that are done are kept so long, and not more than so many.
const KEPT_MS: i64 = 30 * 24 * 3_600_000;
const KEPT: i64 = 10_000;

/// News, before it is a message.
pub struct News<'a> {
    /// What it is about.
    pub kind: NoticeKind,
    /// Whose; `None` for the machine's.
    pub project: Option<&'a ProjectRef>,
    /// Where it stood before, if nothing was told of it yet.
    pub from: &'a str,
    /// A word for how it is now: the same word again is the same news.
    pub to: &'a str,
    /// Why, for people.
    pub reason: &'a str,
}

/// Where a project comes to rest: what an operation passes through is not told.
pub(super) async fn status_is(
    tx: &mut Tx,
    project: &ProjectRef,
    (from, to): (ProjectStatus, ProjectStatus),
    reason: &str,
    now: UnixMillis,
) -> Result<()> {
    let news = News { kind: NoticeKind::Status, project: Some(project), from: from.as_str(), to: to.as_str(), reason };
    write(tx, &news, now).await.map(drop)
}

/// What was last told, or is about to be, of one thing.
struct Last {
    id: String,
    to: String,
    untouched: bool,
    created_at: UnixMillis,
    sent: bool,
}

/// Writes news down if somebody wants to hear it. Returns whether there is something new to send.
async fn write(tx: &mut Tx, news: &News<'_>, now: UnixMillis) -> Result<bool> {
    let kind = news.kind.as_str();
    let wanted = sqlx::query("SELECT window_ms FROM notice_kinds WHERE kind = $1").bind(kind).fetch_optional(&mut **tx).await?;
    let Some(window_ms) = wanted.map(|row| row.get::<i64, _>(0)) else { return Ok(false) };
    let project = news.project.map(ProjectRef::as_str);
    let name = match project {
        Some(id) => sqlx::query("SELECT name FROM projects WHERE id = $1").bind(id).fetch_optional(&mut **tx).await?,
        None => None,
    };
    let name = name.map(|row| row.get::<String, _>(0)).unwrap_or_default();
    let last = last(tx, news).await?;
    if last.is_none() && news.from == news.to {
        return Ok(false);
    }
    if let Some(waiting) = last.as_ref().filter(|last| last.untouched) {
        sqlx::query("UPDATE notices SET told = $2, reason = $3, at = $4, folded = folded + 1 WHERE id = $1 AND told <> $2")
            .bind(&waiting.id)
            .bind(news.to)
            .bind(text(news.reason))
            .bind(now)
            .execute(&mut **tx)
            .await?;
        return Ok(false);
    }
    if let Some(same) = last.as_ref().filter(|last| last.to == news.to) {
        // A status is known once it was told; a warning may be repeated when the window is over.
        if news.kind == NoticeKind::Status || now - same.created_at < window_ms {
            // One that is being tried again stays as it was sent first.
            if same.sent && news.kind != NoticeKind::Status {
                sqlx::query("UPDATE notices SET folded = folded + 1 WHERE id = $1").bind(&same.id).execute(&mut **tx).await?;
            }
            return Ok(false);
        }
    }
    let told_then = sqlx::query(
        "SELECT created_at FROM notices WHERE kind = $1 AND (project_id = $2 OR (project_id IS NULL AND $2 IS NULL)) \
         AND told = $3 AND state <> 'folded' ORDER BY position DESC LIMIT 1",
    )
    .bind(kind)
    .bind(project)
    .bind(news.to)
    .fetch_optional(&mut **tx)
    .await?;
    let free_at = told_then.map_or(now, |row| row.get::<i64, _>(0) + window_ms);
    insert(tx, news, (&name, last.as_ref().map_or(news.from, |last| &last.to)), free_at.max(now), now).await?;
    forget(tx, now).await?;
    Ok(true)
}

/// The newest message of this project and kind that the receiver has, or may get.
async fn last(tx: &mut Tx, news: &News<'_>) -> Result<Option<Last>> {
    let row = sqlx::query(
        "SELECT id, told, state, tries, created_at FROM notices \
         WHERE kind = $1 AND (project_id = $2 OR (project_id IS NULL AND $2 IS NULL)) AND state IN ('waiting', 'sent') \
         ORDER BY position DESC LIMIT 1",
    )
    .bind(news.kind.as_str())
    .bind(news.project.map(ProjectRef::as_str))
    .fetch_optional(&mut **tx)
    .await?;
    Ok(row.map(|row| Last {
        id: row.get(0),
        to: row.get(1),
        untouched: row.get::<String, _>(2) == NoticeState::Waiting.as_str() && row.get::<i64, _>(3) == 0,
        sent: row.get::<String, _>(2) == NoticeState::Sent.as_str(),
        created_at: row.get(4),
    }))
}

async fn insert(tx: &mut Tx, news: &News<'_>, (name, from): (&str, &str), due_at: UnixMillis, now: UnixMillis) -> Result<()> {
    let id: [u8; 16] = rand::rng().random();
    let id: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
    let newest = sqlx::query("SELECT COALESCE(MAX(position), 0) FROM notices").fetch_one(&mut **tx).await?;
    sqlx::query(
        "INSERT INTO notices (id, position, kind, project_id, name, told_before, told, reason, at, folded, state, tries, \
         due_at, error, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, 0, 'waiting', 0, $10, '', $9)",
    )
    .bind(format!("msg_{id}"))
    .bind(newest.get::<i64, _>(0) + 1)
    .bind(news.kind.as_str())
    .bind(news.project.map(ProjectRef::as_str))
    .bind(name)
    .bind(from)
    .bind(news.to)
    .bind(text(news.reason))
    .bind(now)
    .bind(due_at)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// What is done and old goes.
async fn forget(tx: &mut Tx, now: UnixMillis) -> Result<()> {
    sqlx::query(
        "DELETE FROM notices WHERE state <> 'waiting' AND (created_at < $1 OR position <= (SELECT MAX(position) FROM notices) - $2)",
    )
    .bind(now - KEPT_MS)
    .bind(KEPT)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Messages read at once by whoever lists them.
const PAGE: i64 = 200;

impl Store {
    /// What is wanted from now on. Messages that wait already stay.
    ///
    /// # Errors
    /// [`super::StoreError::Database`].
    pub async fn want_notices(&self, kinds: &[NoticeKind], window_ms: i64) -> Result<()> {
        let mut tx = self.begin().await?;
        sqlx::query("DELETE FROM notice_kinds").execute(&mut *tx).await?;
        for kind in kinds {
            sqlx::query(
                "INSERT INTO notice_kinds (kind, window_ms) VALUES ($1, $2) ON CONFLICT (kind) DO UPDATE SET window_ms = $2",
            )
            .bind(kind.as_str())
            .bind(window_ms)
            .execute(&mut *tx)
            .await?;
        }
        tx.commit().await?;
        Ok(())
    }

    /// Writes news down, if it is wanted. Returns whether there is a new message.
    ///
    /// # Errors
    /// [`super::StoreError::Database`].
    pub async fn write_news(&self, news: &News<'_>, now: UnixMillis) -> Result<bool> {
        let mut tx = self.begin().await?;
        let new = write(&mut tx, news, now).await?;
        tx.commit().await?;
        Ok(new)
    }

    /// The messages that are due, oldest first, at most so many. One that has an older one of the same project and kind
    /// before it waits for that, so that they arrive in their order.
    ///
    /// # Errors
    /// [`super::StoreError::Database`].
    pub async fn due_notices(&self, now: UnixMillis, limit: u32) -> Result<Vec<Notice>> {
        let rows = sqlx::query(
            "SELECT * FROM notices n WHERE state = 'waiting' AND due_at <= $1 AND NOT EXISTS (SELECT 1 FROM notices o \
             WHERE o.state = 'waiting' AND o.kind = n.kind AND o.position < n.position \
             AND (o.project_id = n.project_id OR (o.project_id IS NULL AND n.project_id IS NULL))) ORDER BY position LIMIT $2",
        )
        .bind(now)
        .bind(i64::from(limit))
        .fetch_all(&self.readers)
        .await?;
        rows.iter().map(read).collect()
    }

    /// Takes a message to send it: from here on it is not changed any more, and it comes again at `again_at` unless
    /// [`Store::notice_is`] says otherwise. `None` when it is not to be sent: it ended where it began.
    ///
    /// # Errors
    /// [`super::StoreError::Database`].
    pub async fn claim_notice(&self, id: &str, again_at: UnixMillis) -> Result<Option<Notice>> {
        let mut tx = self.begin().await?;
        sqlx::query(
            "UPDATE notices SET state = 'folded' WHERE id = $1 AND state = 'waiting' AND tries = 0 AND kind = 'status' \
             AND told = told_before",
        )
        .bind(id)
        .execute(&mut *tx)
        .await?;
        let row =
            sqlx::query("UPDATE notices SET tries = tries + 1, due_at = $2 WHERE id = $1 AND state = 'waiting' RETURNING *")
                .bind(id)
                .bind(again_at)
                .fetch_optional(&mut *tx)
                .await?;
        let notice = row.as_ref().map(read).transpose()?;
        tx.commit().await?;
        Ok(notice)
    }

    /// What became of a try; one that waits comes again at `due_at`.
    ///
    /// # Errors
    /// [`super::StoreError::Database`].
    pub async fn notice_is(
        &self,
        id: &str,
        state: NoticeState,
        (taken_by, error): (&[String], &str),
        due_at: UnixMillis,
    ) -> Result<()> {
        let statement = sqlx::query(
            "UPDATE notices SET state = $2, error = $3, due_at = $4, taken_by = $5 WHERE id = $1 AND state = 'waiting'",
        )
        .bind(id)
        .bind(state.as_str())
        .bind(text(error))
        .bind(due_at)
        .bind(taken_by.join(" "));
        self.write(statement).await.map(drop)
    }

    /// The newest messages of the projects that the caller may see and of the machine, newest first.
    ///
    /// # Errors
    /// [`super::StoreError::Database`].
    pub async fn notices(&self, caller: &Caller, state: Option<NoticeState>, limit: u32) -> Result<Vec<Notice>> {
        let (limit, mut before, mut notices) = (limit as usize, i64::MAX, Vec::new());
        loop {
            let rows = sqlx::query(
                "SELECT n.*, p.organization_id AS organization_id FROM notices n LEFT JOIN projects p ON p.id = n.project_id \
                 WHERE ($1 = '' OR n.state = $1) AND n.position < $2 ORDER BY n.position DESC LIMIT $3",
            )
            .bind(state.map_or("", NoticeState::as_str))
            .bind(before)
            .bind(PAGE)
            .fetch_all(&self.readers)
            .await?;
            for row in &rows {
                before = row.get("position");
                let notice = read(row)?;
                let organization: Option<String> = row.get("organization_id");
                let seen = match (&notice.project, organization) {
                    (None, _) => caller.role_in("default").is_some(),
                    (Some(project), Some(organization)) => caller.role_on(&organization, project).is_some(),
                    (Some(_), None) => false,
                };
                if seen {
                    notices.push(notice);
                }
                if notices.len() == limit {
                    return Ok(notices);
                }
            }
            if rows.len() < PAGE as usize {
                return Ok(notices);
            }
        }
    }
}

fn read(row: &AnyRow) -> Result<Notice> {
    let (kind, state): (String, String) = (row.get("kind"), row.get("state"));
    Ok(Notice {
        id: row.get("id"),
        kind: word("notices.kind", &kind, NoticeKind::from_word(&kind))?,
        project: row.get::<Option<String>, _>("project_id").map(|id| parse(ProjectRef::parse(&id))).transpose()?,
        name: row.get("name"),
        from: row.get("told_before"),
        to: row.get("told"),
        reason: row.get("reason"),
        at: row.get("at"),
        folded: row.get("folded"),
        state: word("notices.state", &state, NoticeState::from_word(&state))?,
        tries: row.get("tries"),
        due_at: row.get("due_at"),
        taken_by: row.get::<String, _>("taken_by").split_whitespace().map(str::to_owned).collect(),
        error: row.get("error"),
        created_at: row.get("created_at"),
    })
}
