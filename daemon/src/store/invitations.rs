//! Invitations into organisations.

use std::collections::BTreeSet;

use sqlx::Row;
use sqlx::any::AnyRow;

use super::people::{NewUser, insert, role_of, set_project_role, set_role};
use super::{Result, Store, parse, text};
use crate::domain::{ProjectRef, Role, UnixMillis};

/// An invitation, without its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invitation {
    /// Random id.
    pub id: String,
    /// Into which organisation.
    pub organization_id: String,
    /// Whom, in lower case.
    pub email: String,
    /// As what.
    pub role: Role,
    /// On these projects alone; none: in the whole organisation.
    pub projects: BTreeSet<ProjectRef>,
    /// Id of the user, or of the token that is nobody's, who invited.
    pub invited_by: String,
    /// Since when.
    pub created_at: UnixMillis,
    /// Until when it can be taken.
    pub expires_at: UnixMillis,
}

impl Store {
    /// Keeps an invitation by the hash of its secret; one to the same address before it ends.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn insert_invitation(&self, invitation: &Invitation, hash: &str) -> Result<()> {
        let mut tx = self.begin().await?;
        super::organizations::there(&mut tx, &invitation.organization_id).await?;
        sqlx::query("UPDATE invitations SET ended_at = $3 WHERE organization_id = $1 AND email = $2 AND ended_at IS NULL")
            .bind(&invitation.organization_id)
            .bind(&invitation.email)
            .bind(invitation.created_at)
            .execute(&mut *tx)
            .await?;
        sqlx::query(
            "INSERT INTO invitations (id, organization_id, email, role, projects, invited_by, hash, created_at, expires_at) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        )
        .bind(&invitation.id)
        .bind(&invitation.organization_id)
        .bind(&invitation.email)
        .bind(invitation.role.as_str())
        .bind(parse(serde_json::to_string(&invitation.projects))?)
        .bind(&invitation.invited_by)
        .bind(hash)
        .bind(invitation.created_at)
        .bind(invitation.expires_at)
        .execute(&mut *tx)
        .await?;
        tx.commit().await
    }

    /// The invitations of an organisation that can still be taken, the newest first.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn invitations(&self, organization: &str, now: UnixMillis) -> Result<Vec<Invitation>> {
        let rows = sqlx::query(
            "SELECT * FROM invitations WHERE organization_id = $1 AND ended_at IS NULL AND expires_at > $2 \
             ORDER BY created_at DESC, id",
        )
        .bind(organization)
        .bind(now)
        .fetch_all(&self.readers)
        .await?;
        rows.iter().map(invitation).collect()
    }

    /// The invitation of this secret, if it can still be taken.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn invitation_by_hash(&self, hash: &str, now: UnixMillis) -> Result<Option<Invitation>> {
        let sql = "SELECT * FROM invitations WHERE hash = $1 AND ended_at IS NULL AND expires_at > $2";
        let row = sqlx::query(sql).bind(hash).bind(now).fetch_optional(&self.readers).await?;
        row.as_ref().map(invitation).transpose()
    }

    /// Withdraws an invitation; whether it was there.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn withdraw_invitation(&self, organization: &str, id: &str, now: UnixMillis) -> Result<bool> {
        let sql = "UPDATE invitations SET ended_at = $3 WHERE organization_id = $1 AND id = $2 AND ended_at IS NULL";
        Ok(self.write(sqlx::query(sql).bind(organization).bind(text(id)).bind(now)).await? == 1)
    }

    /// Takes an invitation for a user, whom `new` makes first; whether it was still there. A role that the user has
    /// already is not lowered by it.
    ///
    /// # Errors
    /// [`StoreError::Clash`] when `new` has the address of a user.
    pub async fn take_invitation(
        &self,
        taken: &Invitation,
        user: &str,
        new: Option<&NewUser<'_>>,
        now: UnixMillis,
    ) -> Result<bool> {
        let mut tx = self.begin().await?;
        let ended = sqlx::query("UPDATE invitations SET ended_at = $2 WHERE id = $1 AND ended_at IS NULL");
        if ended.bind(&taken.id).bind(now).execute(&mut *tx).await?.rows_affected() == 0 {
            return Ok(false);
        }
        if let Some(new) = new {
            insert(&mut tx, new, now).await?;
        }
        if taken.projects.is_empty() {
            let has = sqlx::query("SELECT role FROM members WHERE organization_id = $1 AND user_id = $2");
            let has = has.bind(&taken.organization_id).bind(user).fetch_optional(&mut *tx).await?;
            let has = has.map(|row| role_of(row.get(0))).transpose()?;
            if has < Some(taken.role) {
                set_role(&mut tx, &taken.organization_id, user, taken.role, now).await?;
            }
        }
        for project in &taken.projects {
            let there = sqlx::query("SELECT 1 FROM projects WHERE id = $1 AND organization_id = $2 AND status <> 'DELETED'");
            let there = there.bind(project.as_str()).bind(&taken.organization_id).fetch_optional(&mut *tx).await?.is_some();
            let has = sqlx::query("SELECT role FROM project_members WHERE project_id = $1 AND user_id = $2");
            let has = has.bind(project.as_str()).bind(user).fetch_optional(&mut *tx).await?;
            let has = has.map(|row| role_of(row.get(0))).transpose()?;
            if there && has < Some(taken.role) {
                set_project_role(&mut tx, project, user, taken.role, now).await?;
            }
        }
        tx.commit().await?;
        Ok(true)
    }
}

fn invitation(row: &AnyRow) -> Result<Invitation> {
    Ok(Invitation {
        id: row.get("id"),
        organization_id: row.get("organization_id"),
        email: row.get("email"),
        role: role_of(row.get("role"))?,
        projects: parse(serde_json::from_str(row.get("projects")))?,
        invited_by: row.get("invited_by"),
        created_at: row.get("created_at"),
        expires_at: row.get("expires_at"),
    })
}
