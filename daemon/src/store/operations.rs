//! Operations and steps: the intent is committed before the effect, the outcome after it. The store
//! refuses impossible orders, so that a mistake above it shows at once and not after a crash.

use sqlx::Row;
use sqlx::any::AnyRow;

use super::{EventKind, Result, Store, StoreError, Tx, parse, text, word};
use crate::domain::{
    LastError, Operation, OperationId, OperationKind, OperationState, POINT_OF_NO_RETURN, ProjectRef, ProjectStatus, Step,
    StepState, UnixMillis, Update,
};

/// An operation to be accepted.
pub struct NewOperation {
    /// The id.
    pub id: OperationId,
    /// Whose.
    pub project: ProjectRef,
    /// What is asked for.
    pub kind: OperationKind,
    /// The generation it makes.
    pub generation: i64,
    /// Services it is about; empty means all.
    pub services: Vec<String>,
    /// What an update is to make of the project.
    pub update: Option<Update>,
    /// Who asks.
    pub requested_by: String,
    /// Plugin name and digest.
    pub plugins: Vec<(String, String)>,
    /// When it must have ended.
    pub deadline_at: UnixMillis,
}

/// The image an operation uses for one service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImagePin {
    /// The service.
    pub service: String,
    /// As the image set writes it.
    pub reference: String,
    /// What the engine made of it.
    pub digest: String,
}

/// Steps of an operation that are to be done again.
pub struct Again<'a> {
    /// The operation.
    pub operation: &'a OperationId,
    /// Their names; those that were never begun stay so.
    pub steps: &'a [String],
}

impl Again<'_> {
    /// `failed`, not `undone`: their effects are still there, and an unwinding must take them back.
    pub(super) async fn mark(&self, tx: &mut Tx, now: UnixMillis) -> Result<()> {
        for name in self.steps {
            sqlx::query(
                "UPDATE steps SET state = 'failed', ended_at = $3, detail = 'to be done again' WHERE operation_id = $1 AND name = $2",
            )
            .bind(self.operation.as_str())
            .bind(name)
            .bind(now)
            .execute(&mut **tx)
            .await?;
        }
        Ok(())
    }
}

impl NewOperation {
    pub(super) async fn insert(&self, tx: &mut Tx, now: UnixMillis) -> Result<()> {
        sqlx::query(
            "INSERT INTO operations (id, project_id, kind, state, generation, plugins, created_at, deadline_at, services, \
             requested_by, update_to) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
        )
        .bind(self.id.as_str())
        .bind(self.project.as_str())
        .bind(self.kind.as_str())
        .bind(OperationState::Accepted.as_str())
        .bind(self.generation)
        .bind(parse(serde_json::to_string(&self.plugins))?)
        .bind(now)
        .bind(self.deadline_at)
        .bind(parse(serde_json::to_string(&self.services))?)
        .bind(&self.requested_by)
        .bind(
            self.update
                .as_ref()
                .map(serde_json::to_string)
                .transpose()
                .map_err(|error| StoreError::Corrupt(error.to_string()))?,
        )
        .execute(&mut **tx)
        .await?;
        Ok(())
    }
}

impl Store {
    /// One operation with its steps.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn operation(&self, id: &OperationId) -> Result<Option<Operation>> {
        let row = sqlx::query("SELECT * FROM operations WHERE id = $1").bind(id.as_str()).fetch_optional(&self.readers).await?;
        match row {
            Some(row) => Ok(Some(self.with_steps(&row).await?)),
            None => Ok(None),
        }
    }

    /// The newest `limit` operations of a project, newest first.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn operations_of(&self, project: &ProjectRef, limit: u32) -> Result<Vec<Operation>> {
        let rows = sqlx::query("SELECT * FROM operations WHERE project_id = $1 ORDER BY created_at DESC, id LIMIT $2")
            .bind(project.as_str())
            .bind(i64::from(limit))
            .fetch_all(&self.readers)
            .await?;
        let mut operations = Vec::with_capacity(rows.len());
        for row in &rows {
            operations.push(self.with_steps(row).await?);
        }
        Ok(operations)
    }

    /// Every operation that has not ended, oldest first.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn unfinished_operations(&self) -> Result<Vec<(OperationId, ProjectRef)>> {
        let rows = sqlx::query("SELECT id, project_id FROM operations WHERE ended_at IS NULL ORDER BY created_at")
            .fetch_all(&self.readers)
            .await?;
        rows.iter().map(|row| Ok((parse(OperationId::parse(row.get(0)))?, parse(ProjectRef::parse(row.get(1)))?))).collect()
    }

    /// Begins an operation that was accepted: its time runs from here, not from the queue before it.
    ///
    /// # Errors
    /// [`StoreError::Transition`] when it has ended, or was cancelled before it began.
    pub async fn operation_begins(&self, id: &OperationId, deadline_at: UnixMillis) -> Result<()> {
        let statement = sqlx::query("UPDATE operations SET state = $2, deadline_at = $3 WHERE id = $1 AND state = 'accepted'")
            .bind(id.as_str())
            .bind(OperationState::Running.as_str())
            .bind(deadline_at);
        let rows = self.write(statement).await?;
        changed_one(rows, || format!("operation {id} has ended"))
    }

    /// Moves an unfinished operation on.
    ///
    /// # Errors
    /// [`StoreError::Transition`] when it has ended.
    pub async fn set_operation_state(&self, id: &OperationId, state: OperationState) -> Result<()> {
        let statement = sqlx::query("UPDATE operations SET state = $2 WHERE id = $1 AND ended_at IS NULL")
            .bind(id.as_str())
            .bind(state.as_str());
        let rows = self.write(statement).await?;
        changed_one(rows, || format!("operation {id} has ended"))
    }

    /// Turns a project's operation round: it goes back from where it is. Returns it.
    ///
    /// # Errors
    /// [`StoreError::Transition`] when nothing is under way that could go back.
    pub async fn cancel_operation(&self, project: &ProjectRef, reason: &str) -> Result<OperationId> {
        let mut tx = self.begin().await?;
        let row = sqlx::query("SELECT id, kind, state FROM operations WHERE project_id = $1 AND ended_at IS NULL")
            .bind(project.as_str())
            .fetch_optional(&mut *tx)
            .await?;
        let Some(row) = row else { return Err(StoreError::Transition("nothing is under way".to_owned())) };
        let id = parse(OperationId::parse(row.get(0)))?;
        let kind: String = row.get(1);
        if !word("operations.kind", &kind, OperationKind::from_word(&kind))?.has_way_back() {
            return Err(StoreError::Transition(format!("a {kind} has no way back")));
        }
        let committed = sqlx::query("SELECT name FROM steps WHERE operation_id = $1 AND name = $2")
            .bind(id.as_str())
            .bind(POINT_OF_NO_RETURN)
            .fetch_optional(&mut *tx)
            .await?;
        if kind == OperationKind::Update.as_str() && committed.is_some() {
            return Err(StoreError::Transition("the update is done: what it kept of the old data is being removed".to_owned()));
        }
        sqlx::query(
            "UPDATE operations SET state = 'unwinding', cancelled = $2 WHERE id = $1 AND state IN ('accepted', 'running')",
        )
        .bind(id.as_str())
        .bind(text(reason))
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(id)
    }

    /// Keeps what a step that is not done yet waits for.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn step_waits(&self, id: &OperationId, name: &str, why: &str) -> Result<()> {
        let statement = sqlx::query("UPDATE steps SET detail = $3 WHERE operation_id = $1 AND name = $2 AND state = 'started'")
            .bind(id.as_str())
            .bind(name)
            .bind(text(why));
        self.write(statement).await?;
        Ok(())
    }

    /// Commits the intent of a step.
    ///
    /// # Errors
    /// [`StoreError::Transition`] when another step of the operation is unfinished: steps never overlap (I5); and when
    /// the operation goes back, or has ended, since it was read.
    pub async fn step_started(&self, id: &OperationId, name: &str, now: UnixMillis) -> Result<()> {
        let mut tx = self.begin().await?;
        let row = sqlx::query("SELECT state FROM operations WHERE id = $1").bind(id.as_str()).fetch_one(&mut *tx).await?;
        if row.get::<String, _>(0) != OperationState::Running.as_str() {
            return Err(StoreError::Transition(format!("operation {id} does not go forward any more")));
        }
        let other = sqlx::query("SELECT name FROM steps WHERE operation_id = $1 AND state = 'started' AND name <> $2")
            .bind(id.as_str())
            .bind(name)
            .fetch_optional(&mut *tx)
            .await?;
        if let Some(other) = other {
            return Err(StoreError::Transition(format!(
                "step {name} may not begin before {} has ended",
                other.get::<String, _>(0)
            )));
        }
        sqlx::query(
            "INSERT INTO steps (operation_id, position, name, state, started_at) \
             SELECT $1, COALESCE(MAX(position), 0) + 1, $2, 'started', $3 FROM steps WHERE operation_id = $1 \
             ON CONFLICT (operation_id, name) DO UPDATE SET state = 'started', ended_at = NULL",
        )
        .bind(id.as_str())
        .bind(name)
        .bind(now)
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(())
    }

    /// Commits the outcome of a step that was started.
    ///
    /// # Errors
    /// [`StoreError::Transition`] when it was not started.
    pub async fn step_ended(
        &self,
        id: &OperationId,
        name: &str,
        state: StepState,
        detail: Option<&str>,
        now: UnixMillis,
    ) -> Result<()> {
        let statement = sqlx::query(
            "UPDATE steps SET state = $3, ended_at = $4, detail = COALESCE($5, detail) \
             WHERE operation_id = $1 AND name = $2 AND (state = 'started' OR $3 = 'undone')",
        )
        .bind(id.as_str())
        .bind(name)
        .bind(state.as_str())
        .bind(now)
        .bind(detail.map(text));
        let rows = self.write(statement).await?;
        changed_one(rows, || format!("step {name} was not started"))
    }

    /// Marks steps as to be done again, all or none.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn rewind(&self, again: &Again<'_>, now: UnixMillis) -> Result<()> {
        let mut tx = self.begin().await?;
        again.mark(&mut tx, now).await?;
        tx.commit().await?;
        Ok(())
    }

    /// Remembers which images the operation uses, once: what is there stays.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn pin_images(&self, id: &OperationId, pins: &[ImagePin]) -> Result<()> {
        let mut tx = self.begin().await?;
        for pin in pins {
            sqlx::query(
                "INSERT INTO operation_images (operation_id, service, reference, digest) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
            )
            .bind(id.as_str())
            .bind(&pin.service)
            .bind(&pin.reference)
            .bind(&pin.digest)
            .execute(&mut *tx)
            .await?;
        }
        tx.commit().await?;
        Ok(())
    }

    /// The images an operation uses.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn image_pins(&self, id: &OperationId) -> Result<Vec<ImagePin>> {
        let rows = sqlx::query("SELECT service, reference, digest FROM operation_images WHERE operation_id = $1")
            .bind(id.as_str())
            .fetch_all(&self.readers)
            .await?;
        Ok(rows.iter().map(|row| ImagePin { service: row.get(0), reference: row.get(1), digest: row.get(2) }).collect())
    }

    /// Ends an operation, moves its project and tells both, in one transaction: a watcher waits for the `end` event, so
    /// it may not be lost between them. A project that becomes active gets its
    /// activation time once; one that is deleted frees its ports and subnet and forgets its secrets.
    ///
    /// # Errors
    /// [`StoreError::Transition`] when the operation has ended, or was turned round, since it was read.
    pub async fn end_operation(
        &self,
        operation: &Operation,
        state: OperationState,
        status: ProjectStatus,
        error: Option<&LastError>,
        events: &[(EventKind, String)],
        now: UnixMillis,
    ) -> Result<()> {
        let mut tx = self.begin().await?;
        let done = sqlx::query(
            "UPDATE operations SET state = $2, ended_at = $3, error = $4 WHERE id = $1 AND ended_at IS NULL AND state = $5",
        )
        .bind(operation.id.as_str())
        .bind(state.as_str())
        .bind(now)
        .bind(error.map(|error| text(&error.message)))
        .bind(operation.state.as_str())
        .execute(&mut *tx)
        .await?;
        changed_one(done.rows_affected(), || format!("operation {} is not {} any more", operation.id, operation.state.as_str()))?;
        let shape = operation.update.as_ref().filter(|_| state == OperationState::Succeeded).map(|update| &update.shape);
        let without = shape.map(|shape| parse(serde_json::to_string(&shape.without))).transpose()?;
        let plugins = shape.map(|shape| parse(serde_json::to_string(&shape.plugins))).transpose()?;
        let tail = error.map(|error| parse(serde_json::to_string(&error.log_tail))).transpose()?;
        sqlx::query(
            "UPDATE projects SET status = $2, updated_at = $3, error_step = $4, error_code = $5, error_message = $6, \
             error_log_tail = $7, stack_operation = COALESCE($8, stack_operation), \
             template_set = COALESCE($9, template_set), image_set = COALESCE($10, image_set), services_off = COALESCE($11, services_off), \
             plugins = COALESCE($12, plugins), \
             activated_at = CASE WHEN $2 = 'ACTIVE_HEALTHY' THEN COALESCE(activated_at, $3) ELSE activated_at END, \
             deleted_at = CASE WHEN $2 = 'DELETED' THEN $3 ELSE deleted_at END WHERE id = $1",
        )
        .bind(operation.project.as_str())
        .bind(status.as_str())
        .bind(now)
        .bind(error.map(|error| text(&error.step)))
        .bind(error.map(|error| text(&error.code)))
        .bind(error.map(|error| text(&error.message)))
        .bind(tail)
        .bind((operation.kind.renders() && state == OperationState::Succeeded).then(|| operation.id.as_str()))
        .bind(shape.map(|shape| &shape.template_set))
        .bind(shape.map(|shape| &shape.image_set))
        .bind(without)
        .bind(plugins)
        .execute(&mut *tx)
        .await?;
        if operation.kind == OperationKind::Create && state == OperationState::Failed {
            // A retry begins with an empty database: what an unwinding that was ended by force left here is not done there.
            super::plugins::none_done(&mut tx, &operation.project).await?;
        }
        if status == ProjectStatus::Deleted {
            super::reservations::release(&mut tx, &operation.project, now).await?;
            super::plugins::gone(&mut tx, &operation.project).await?;
        }
        if matches!(status, ProjectStatus::Deleted | ProjectStatus::Failed | ProjectStatus::Paused) {
            sqlx::query("DELETE FROM observations WHERE project_id = $1")
                .bind(operation.project.as_str())
                .execute(&mut *tx)
                .await?;
        }
        for (kind, data) in events {
            super::events::append(&mut tx, &operation.project, *kind, data, now).await?;
        }
        let reason = error.map(|error| error.message.as_str()).unwrap_or_default();
        super::notices::status_is(&mut tx, &operation.project, (operation.kind.transit(), status), reason, now).await?;
        tx.commit().await?;
        Ok(())
    }

    async fn with_steps(&self, row: &AnyRow) -> Result<Operation> {
        let id = parse(OperationId::parse(row.get("id")))?;
        let steps =
            sqlx::query("SELECT name, state, started_at, ended_at, detail FROM steps WHERE operation_id = $1 ORDER BY position")
                .bind(id.as_str())
                .fetch_all(&self.readers)
                .await?;
        let steps = steps.iter().map(|step| {
            let state: String = step.get(1);
            Ok(Step {
                name: step.get(0),
                state: word("steps.state", &state, StepState::from_word(&state))?,
                started_at: step.get(2),
                ended_at: step.get(3),
                detail: step.get(4),
            })
        });
        let kind: String = row.get("kind");
        let state: String = row.get("state");
        Ok(Operation {
            steps: steps.collect::<Result<_>>()?,
            project: parse(ProjectRef::parse(row.get("project_id")))?,
            kind: word("operations.kind", &kind, OperationKind::from_word(&kind))?,
            state: word("operations.state", &state, OperationState::from_word(&state))?,
            generation: row.get("generation"),
            services: parse(serde_json::from_str(row.get("services")))?,
            update: row.get::<Option<String>, _>("update_to").map(|text| parse(serde_json::from_str(&text))).transpose()?,
            requested_by: row.get("requested_by"),
            cancelled: row.get("cancelled"),
            plugins: parse(serde_json::from_str(row.get("plugins")))?,
            created_at: row.get("created_at"),
            deadline_at: row.get("deadline_at"),
            ended_at: row.get("ended_at"),
            error: row.get("error"),
            id,
        })
    }
}

fn changed_one(rows: u64, why: impl FnOnce() -> String) -> Result<()> {
    if rows == 1 { Ok(()) } else { Err(StoreError::Transition(why())) }
}
