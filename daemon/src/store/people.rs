//! Users and their roles.

use std::collections::BTreeMap;

use sqlx::Row;
use sqlx::any::AnyRow;

use super::{Result, Store, StoreError, Tx, parse, word};
use crate::domain::{ProjectRef, Role, UnixMillis, User};

/// A user's roles as two columns of one row, for a user whose id is the column `user_id` of a table called `t`.
pub(super) const SELECT_ROLES: &str = "(SELECT string_agg(m.organization_id || ' ' || m.role, ',') \
     FROM members m WHERE m.user_id = t.user_id) AS roles_in, \
     (SELECT string_agg(p.project_id || ' ' || p.role, ',') FROM project_members p WHERE p.user_id = t.user_id) AS roles_on";

/// Whose people run the installation.
const FIRST: &str = "default";

/// Organisation -> role, and project -> role.
type Roles = (BTreeMap<String, Role>, BTreeMap<ProjectRef, Role>);

/// Somebody of an organisation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Who.
    pub user: User,
    /// Their role in the organisation; `None` for who has roles on projects alone.
    pub role: Option<Role>,
    /// Their roles on its projects, beside that.
    pub projects: BTreeMap<ProjectRef, Role>,
}

/// A user to be.
pub struct NewUser<'a> {
    /// A UUID.
    pub id: &'a str,
    /// In lower case.
    pub email: &'a str,
    /// May be empty.
    pub name: &'a str,
    /// Argon2id, as PHC text.
    pub password: &'a str,
    /// Where they have a role from the beginning.
    pub roles: &'a [(&'a str, Role)],
}

impl Store {
    /// Makes a user.
    ///
    /// # Errors
    /// [`StoreError::Clash`] when the address is a user's.
    pub async fn insert_user(&self, user: &NewUser<'_>, now: UnixMillis) -> Result<()> {
        let mut tx = self.begin().await?;
        insert(&mut tx, user, now).await?;
        tx.commit().await
    }

    /// Makes the first user of an installation, and nothing when there is one; whether it did.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn insert_first_user(&self, user: &NewUser<'_>, now: UnixMillis) -> Result<bool> {
        let mut tx = self.begin().await?;
        if sqlx::query("SELECT 1 FROM users LIMIT 1").fetch_optional(&mut *tx).await?.is_some() {
            return Ok(false);
        }
        insert(&mut tx, user, now).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// Whether there is a user.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn has_users(&self) -> Result<bool> {
        Ok(sqlx::query("SELECT 1 FROM users LIMIT 1").fetch_optional(&self.readers).await?.is_some())
    }

    /// All users, in the order they came.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn users(&self) -> Result<Vec<User>> {
        Ok(sqlx::query("SELECT * FROM users ORDER BY number").fetch_all(&self.readers).await?.iter().map(user).collect())
    }

    /// The user of this id.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn user(&self, id: &str) -> Result<Option<User>> {
        let row = sqlx::query("SELECT * FROM users WHERE id = $1").bind(id).fetch_optional(&self.readers).await?;
        Ok(row.as_ref().map(user))
    }

    /// The user of this address and the hash of their password.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn user_by_email(&self, email: &str) -> Result<Option<(User, String)>> {
        let row = sqlx::query("SELECT * FROM users WHERE email = $1").bind(email).fetch_optional(&self.readers).await?;
        Ok(row.map(|row| (user(&row), row.get("password"))))
    }

    /// Another password, and the end of every session of the user, together.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn set_password(&self, user: &str, password: &str, now: UnixMillis) -> Result<()> {
        let mut tx = self.begin().await?;
        sqlx::query("UPDATE users SET password = $2 WHERE id = $1").bind(user).bind(password).execute(&mut *tx).await?;
        super::sessions::end_all(&mut tx, user, "password", now).await?;
        tx.commit().await
    }

    /// Shuts a user out, and ends their sessions; or lets them in again.
    ///
    /// # Errors
    /// [`StoreError::Transition`] when the first organisation would be left without an owner.
    pub async fn set_disabled(&self, user: &str, disabled: bool, now: UnixMillis) -> Result<()> {
        let mut tx = self.begin().await?;
        sqlx::query("UPDATE users SET disabled_at = $2 WHERE id = $1")
            .bind(user)
            .bind(disabled.then_some(now))
            .execute(&mut *tx)
            .await?;
        if disabled {
            // Only the first organisation's: anybody can make another one and be its only owner.
            if !is_owned(&mut tx, FIRST).await? && owns(&mut tx, FIRST, user).await? {
                return Err(without_owner(FIRST));
            }
            end_invitations(&mut tx, None, user, now).await?;
            super::sessions::end_all(&mut tx, user, "disabled", now).await?;
        }
        tx.commit().await
    }

    /// Everybody of an organisation, by address: those with a role on one of its live projects alone too.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn members(&self, organization: &str) -> Result<Vec<Member>> {
        let rows = sqlx::query(
            "SELECT u.*, m.role AS role, (SELECT string_agg(x.project_id || ' ' || x.role, ',') FROM project_members x \
             JOIN projects p ON p.id = x.project_id WHERE x.user_id = u.id AND p.organization_id = $1 AND p.status <> 'DELETED') \
             AS roles_on FROM users u LEFT JOIN members m ON m.user_id = u.id AND m.organization_id = $1 ORDER BY u.email",
        )
        .bind(organization)
        .fetch_all(&self.readers)
        .await?;
        let mut members = Vec::new();
        for row in &rows {
            let role = row.get::<Option<String>, _>("role").map(|role| role_of(&role)).transpose()?;
            let projects = pairs(row, "roles_on", ProjectRef::parse)?;
            if role.is_some() || !projects.is_empty() {
                members.push(Member { user: user(row), role, projects });
            }
        }
        Ok(members)
    }

    /// Gives somebody a role in an organisation, or takes it.
    ///
    /// # Errors
    /// [`StoreError::Transition`] when it would be left without an owner.
    pub async fn set_member(&self, organization: &str, user: &str, role: Option<Role>, now: UnixMillis) -> Result<()> {
        let mut tx = self.begin().await?;
        let owned = is_owned(&mut tx, organization).await?;
        // What they were promised, and whom they promised something: neither outlasts what they were.
        end_invitations(&mut tx, Some(organization), user, now).await?;
        match role {
            Some(role) => set_role(&mut tx, organization, user, role, now).await?,
            None => {
                let statement = sqlx::query("DELETE FROM members WHERE organization_id = $1 AND user_id = $2");
                statement.bind(organization).bind(user).execute(&mut *tx).await?;
                let on_its_projects = "DELETE FROM project_members WHERE user_id = $2 AND project_id IN \
                                       (SELECT id FROM projects WHERE organization_id = $1)";
                sqlx::query(on_its_projects).bind(organization).bind(user).execute(&mut *tx).await?;
            }
        }
        if owned && !is_owned(&mut tx, organization).await? {
            return Err(without_owner(organization));
        }
        tx.commit().await
    }

    /// Gives somebody a role on one project, or takes it.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn set_project_member(&self, project: &ProjectRef, user: &str, role: Option<Role>, now: UnixMillis) -> Result<()> {
        let mut tx = self.begin_beside_projects().await?;
        match role {
            Some(role) => set_project_role(&mut tx, project, user, role, now).await?,
            None => {
                let statement = sqlx::query("DELETE FROM project_members WHERE project_id = $1 AND user_id = $2");
                statement.bind(project.as_str()).bind(user).execute(&mut *tx).await?;
            }
        }
        tx.commit().await
    }
}

/// The two columns of [`SELECT_ROLES`].
pub(super) fn roles_of(row: &AnyRow) -> Result<Roles> {
    let organization = |id: &str| Ok::<_, std::convert::Infallible>(id.to_owned());
    Ok((pairs(row, "roles_in", organization)?, pairs(row, "roles_on", ProjectRef::parse)?))
}

fn pairs<K: Ord, E: std::fmt::Display>(
    row: &AnyRow,
    column: &str,
    key: impl Fn(&str) -> std::result::Result<K, E>,
) -> Result<BTreeMap<K, Role>> {
    let text = row.get::<Option<String>, _>(column).unwrap_or_default();
    let pair = |pair: &str| {
        let (id, role) = pair.split_once(' ').unwrap_or((pair, ""));
        Ok((parse(key(id))?, role_of(role)?))
    };
    text.split_terminator(',').map(pair).collect()
}

pub(super) fn role_of(text: &str) -> Result<Role> {
    word("role", text, Role::from_word(text))
}

pub(super) async fn insert(tx: &mut Tx, user: &NewUser<'_>, now: UnixMillis) -> Result<()> {
    sqlx::query(
        "INSERT INTO users (id, number, email, name, password, created_at) \
         VALUES ($1, (SELECT COALESCE(MAX(number), 0) + 1 FROM users), $2, $3, $4, $5)",
    )
    .bind(user.id)
    .bind(user.email)
    .bind(user.name)
    .bind(user.password)
    .bind(now)
    .execute(&mut **tx)
    .await?;
    for (organization, role) in user.roles {
        set_role(tx, organization, user.id, *role, now).await?;
    }
    Ok(())
}

pub(super) async fn set_role(tx: &mut Tx, organization: &str, user: &str, role: Role, now: UnixMillis) -> Result<()> {
    super::organizations::there(tx, organization).await?;
    sqlx::query(
        "INSERT INTO members (organization_id, user_id, role, created_at) VALUES ($1, $2, $3, $4) \
         ON CONFLICT (organization_id, user_id) DO UPDATE SET role = $3",
    )
    .bind(organization)
    .bind(user)
    .bind(role.as_str())
    .bind(now)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

pub(super) async fn set_project_role(tx: &mut Tx, project: &ProjectRef, user: &str, role: Role, now: UnixMillis) -> Result<()> {
    sqlx::query(
        "INSERT INTO project_members (project_id, user_id, role, created_at) VALUES ($1, $2, $3, $4) \
         ON CONFLICT (project_id, user_id) DO UPDATE SET role = $3",
    )
    .bind(project.as_str())
    .bind(user)
    .bind(role.as_str())
    .bind(now)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// The invitations of a user's address and those that the user made, in one organisation or in all.
async fn end_invitations(tx: &mut Tx, organization: Option<&str>, user: &str, now: UnixMillis) -> Result<()> {
    sqlx::query(
        "UPDATE invitations SET ended_at = $3 WHERE ended_at IS NULL AND ($1 IS NULL OR organization_id = $1) \
         AND (invited_by = $2 OR email = (SELECT email FROM users WHERE id = $2))",
    )
    .bind(organization)
    .bind(user)
    .bind(now)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

async fn owns(tx: &mut Tx, organization: &str, user: &str) -> Result<bool> {
    let sql = "SELECT 1 FROM members WHERE organization_id = $1 AND user_id = $2 AND role = 'owner'";
    Ok(sqlx::query(sql).bind(organization).bind(user).fetch_optional(&mut **tx).await?.is_some())
}

/// Whether somebody who is not shut out owns it.
async fn is_owned(tx: &mut Tx, organization: &str) -> Result<bool> {
    let owner = "SELECT 1 FROM members m JOIN users u ON u.id = m.user_id \
                 WHERE m.organization_id = $1 AND m.role = 'owner' AND u.disabled_at IS NULL LIMIT 1";
    Ok(sqlx::query(owner).bind(organization).fetch_optional(&mut **tx).await?.is_some())
}

/// An organisation that nobody owns can only be helped on the machine itself.
fn without_owner(organization: &str) -> StoreError {
    StoreError::Transition(format!("`{organization}` would be left without an owner"))
}

fn user(row: &AnyRow) -> User {
    User {
        id: row.get("id"),
        number: row.get("number"),
        email: row.get("email"),
        name: row.get("name"),
        created_at: row.get("created_at"),
        disabled_at: row.get("disabled_at"),
    }
}
