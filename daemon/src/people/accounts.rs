//! Users, and how somebody becomes one: on the machine itself, by the link of the first start, or invited.

use std::collections::BTreeSet;
use std::net::IpAddr;

use serde_json::json;

use super::{Done, People, PeopleError, hash, passwords, secret_to_show};
use crate::domain::{Caller, Organization, ProjectRef, Role, Secret};
use crate::secrets::new_uuid;
use crate::store::{Invitation, NewUser};

/// The longest address, in bytes (RFC 5321 section 4.5.3.1.3 less the angle brackets).
const EMAIL_BYTES_MAX: usize = 254;
/// The longest name of a user or an organisation, in characters.
const NAME_CHARS_MAX: usize = 256;
/// How long the link of the first start is good for, in milliseconds.
const SETUP_MS: i64 = 3600 * 1000;
/// How long a session is known after its end, in milliseconds: a week, in which a refresh token that comes again is told apart.
const FORGET_MS: i64 = 7 * 24 * 3600 * 1000;
const OTHER_LINK: &str = "this is not the link of this start: the daemon's log has it";
/// The longest slug.
const SLUG_BYTES_MAX: usize = 40;

/// A user to be.
pub struct NewAccount {
    /// Any case.
    pub email: String,
    /// May be empty.
    pub name: String,
    /// In clear.
    pub password: Secret<String>,
}

/// Whom to invite.
pub struct Guest<'a> {
    /// Any case.
    pub email: &'a str,
    /// As what.
    pub role: Role,
    /// On these projects alone; none: in the whole organisation.
    pub projects: BTreeSet<ProjectRef>,
}

/// An invitation, with what takes it: shown once.
pub struct Invited {
    /// What is kept.
    pub invitation: Invitation,
    /// Whoever shows it joins.
    pub secret: Secret<String>,
}

impl People {
    /// Makes a user with a role in an organisation, for whoever may open the store. The first one makes the link of the
    /// first start worthless.
    ///
    /// # Errors
    /// [`PeopleError::Field`], or [`PeopleError::Taken`] when the address is a user's.
    pub async fn create_user(&self, account: NewAccount, organization: &str, role: Role) -> Result<String, PeopleError> {
        let (id, email, password) = self.checked(&account.email, &account.name, account.password).await?;
        let roles = [(organization, role)];
        let user = NewUser { id: &id, email: &email, name: account.name.trim(), password: &password, roles: &roles };
        self.store.insert_user(&user, self.clock.now()).await?;
        let detail = json!({"user": id, "email": email, "role": role});
        self.audit_here(Done { action: "user.create", organization: Some(organization), project: None, detail: &detail }).await?;
        Ok(id)
    }

    /// The secret of the link that makes the first user; none when there is a user.
    ///
    /// # Errors
    /// [`PeopleError::Generate`] or [`PeopleError::Store`].
    pub async fn begin_setup(&self) -> Result<Option<Secret<String>>, PeopleError> {
        if self.store.has_users().await? {
            return Ok(None);
        }
        let (secret, hash) = secret_to_show("")?;
        Ok(self.setup.set((hash, self.clock.now())).is_ok().then_some(secret))
    }

    /// Whether this is the secret of that link, and it is still good for something.
    ///
    /// # Errors
    /// [`PeopleError::Refused`] when there is a user, [`PeopleError::Unknown`] when it is another one.
    pub async fn check_setup(&self, shown: &str) -> Result<(), PeopleError> {
        if self.store.has_users().await? {
            return Err(PeopleError::Refused("there is a user already: sign in, or ask an owner for an invitation".to_owned()));
        }
        // Hashes are compared: how long it takes says nothing of the secret.
        match self.setup.get() {
            Some((known, _)) if *known != hash(shown) => Err(PeopleError::Unknown(OTHER_LINK)),
            Some((_, since)) if self.clock.now() - since <= SETUP_MS => Ok(()),
            Some(_) => {
                Err(PeopleError::Unknown("this link is older than an hour: the next start of the daemon logs another one"))
            }
            _ => Err(PeopleError::Unknown(OTHER_LINK)),
        }
    }

    /// Makes the first user, who owns `default`.
    ///
    /// # Errors
    /// [`PeopleError::Refused`] when there is a user already.
    pub async fn create_first_user(&self, account: NewAccount) -> Result<String, PeopleError> {
        let (id, email, password) = self.checked(&account.email, &account.name, account.password).await?;
        let roles = [("default", Role::Owner)];
        let user = NewUser { id: &id, email: &email, name: account.name.trim(), password: &password, roles: &roles };
        if !self.store.insert_first_user(&user, self.clock.now()).await? {
            return Err(PeopleError::Refused("there is a user already: ask an owner for an invitation".to_owned()));
        }
        let done = Done { action: "user.first", organization: Some("default"), project: None, detail: &json!({}) };
        self.audit_as(&id, &email, done).await?;
        Ok(id)
    }

    /// Another password; every session of the user ends.
    ///
    /// # Errors
    /// [`PeopleError::Field`] when it cannot be taken, [`PeopleError::Unknown`] when there is no such user.
    pub async fn set_password(&self, email: &str, password: Secret<String>) -> Result<(), PeopleError> {
        let email = email.trim().to_lowercase();
        let found = self.store.user_by_email(&email).await?;
        let (user, _) = found.ok_or(PeopleError::Unknown("there is no user of this address"))?;
        let hash = self.passwords.hash(password).await?;
        self.store.set_password(&user.id, &hash, self.clock.now()).await?;
        let detail = json!({"user": user.id, "email": user.email});
        self.audit_here(Done { action: "user.password", organization: None, project: None, detail: &detail }).await
    }

    /// Shuts a user out, or lets them in again.
    ///
    /// # Errors
    /// [`PeopleError::Unknown`] when there is no such user, [`PeopleError::Refused`] when nobody would own `default`.
    pub async fn set_disabled(&self, email: &str, disabled: bool) -> Result<(), PeopleError> {
        let found = self.store.user_by_email(&email.trim().to_lowercase()).await?;
        let (user, _) = found.ok_or(PeopleError::Unknown("there is no user of this address"))?;
        self.store.set_disabled(&user.id, disabled, self.clock.now()).await?;
        let action = if disabled { "user.disable" } else { "user.enable" };
        let detail = json!({"user": user.id, "email": user.email});
        self.audit_here(Done { action, organization: None, project: None, detail: &detail }).await
    }

    /// Forgets sessions that ended long ago.
    ///
    /// # Errors
    /// [`PeopleError::Store`].
    pub async fn forget_sessions(&self) -> Result<u64, PeopleError> {
        Ok(self.store.forget_sessions(self.clock.now() - FORGET_MS).await?)
    }

    /// Invites an address; an earlier invitation of the same address into the same organisation ends.
    ///
    /// # Errors
    /// [`PeopleError::Field`] when the address cannot be one.
    pub async fn invite(&self, caller: &Caller, organization: &str, guest: Guest<'_>) -> Result<Invited, PeopleError> {
        let (secret, hash) = secret_to_show("")?;
        let now = self.clock.now();
        let life_ms = i64::try_from(self.rules.invitation_s).unwrap_or(i64::MAX / 2_000) * 1000;
        let invitation = Invitation {
            id: new_uuid()?,
            organization_id: organization.to_owned(),
            email: email_of(guest.email)?,
            role: guest.role,
            projects: guest.projects,
            invited_by: caller.user_id.clone().unwrap_or_else(|| caller.id.clone()),
            created_at: now,
            expires_at: now + life_ms,
        };
        self.store.insert_invitation(&invitation, &hash).await?;
        let detail = json!({"email": invitation.email, "role": invitation.role, "projects": invitation.projects});
        let done = Done { action: "member.invite", organization: Some(organization), project: None, detail: &detail };
        self.audit(caller, done).await?;
        Ok(Invited { invitation, secret })
    }

    /// Takes an invitation: a new user with this password, or a user who shows theirs.
    ///
    /// # Errors
    /// [`PeopleError::Unknown`] when it has ended, [`PeopleError::WrongPassword`] when the address is a user's and the
    /// password is not.
    pub async fn take_invitation(
        &self,
        secret: &str,
        name: &str,
        password: Secret<String>,
        network: Option<IpAddr>,
    ) -> Result<String, PeopleError> {
        passwords::check(&password)?;
        let ended = PeopleError::Unknown("this invitation has ended or was taken: ask for another one");
        let now = self.clock.now();
        let Some(invitation) = self.store.invitation_by_hash(&hash(secret), now).await? else { return Err(ended) };
        let user = self.store.user_by_email(&invitation.email).await?;
        let (id, taken) = match user {
            Some((user, hash)) => {
                self.throttle.may_try(&user.email, network)?;
                if user.disabled_at.is_some() || !self.passwords.verify(password, Some(hash)).await? {
                    return Err(PeopleError::WrongPassword);
                }
                let taken = self.store.take_invitation(&invitation, &user.id, None, now).await?;
                (user.id, taken)
            }
            None => {
                let (id, email, password) = self.checked(&invitation.email, name, password).await?;
                let new = NewUser { id: &id, email: &email, name: name.trim(), password: &password, roles: &[] };
                let taken = self.store.take_invitation(&invitation, &id, Some(&new), now).await?;
                (id, taken)
            }
        };
        if !taken {
            return Err(ended);
        }
        let detail = json!({"invitation": invitation.id, "role": invitation.role});
        let organization = Some(invitation.organization_id.as_str());
        let done = Done { action: "member.join", organization, project: None, detail: &detail };
        self.audit_as(&id, &invitation.email, done).await?;
        Ok(id)
    }

    /// Makes an organisation that the caller's user owns. Without a slug, one is made of the name.
    ///
    /// # Errors
    /// [`PeopleError::Field`], or [`PeopleError::Taken`] when the slug was ever used.
    pub async fn create_organization(
        &self,
        caller: &Caller,
        name: &str,
        slug: Option<&str>,
    ) -> Result<Organization, PeopleError> {
        let name = name_of(name, 1)?;
        let slug = match slug {
            Some(slug) => checked_slug(slug)?,
            None => slug_of(&name, &new_uuid()?),
        };
        let made = self.store.insert_organization(&slug, &name, caller.user_id.as_deref(), self.clock.now()).await?;
        let detail = json!({"name": name});
        self.audit(caller, Done { action: "organization.create", organization: Some(&slug), project: None, detail: &detail })
            .await?;
        Ok(made)
    }

    /// Gives an organisation another name.
    ///
    /// # Errors
    /// [`PeopleError::Field`] when it cannot be one, [`PeopleError::Refused`] when the organisation is gone.
    pub async fn rename_organization(&self, caller: &Caller, slug: &str, name: &str) -> Result<(), PeopleError> {
        let name = name_of(name, 1)?;
        if !self.store.rename_organization(slug, &name).await? {
            return Err(PeopleError::Refused("this organisation is being deleted".to_owned()));
        }
        let done =
            Done { action: "organization.rename", organization: Some(slug), project: None, detail: &json!({"name": name}) };
        self.audit(caller, done).await
    }

    /// Id, address and hash of what is to become a user.
    async fn checked(&self, email: &str, name: &str, password: Secret<String>) -> Result<(String, String, String), PeopleError> {
        let email = email_of(email)?;
        name_of(name, 0)?;
        Ok((new_uuid()?, email, self.passwords.hash(password).await?))
    }
}

/// In lower case, with something before the last `@` and a name after it. Whether mail arrives, only mail can tell.
pub(super) fn email_of(text: &str) -> Result<String, PeopleError> {
    let email = text.trim().to_lowercase();
    let plain = |text: &str| !text.is_empty() && !text.chars().any(|letter| letter.is_whitespace() || letter.is_control());
    let whole = email.rsplit_once('@').is_some_and(|(before, after)| plain(before) && plain(after) && !after.contains('@'));
    if whole && email.len() <= EMAIL_BYTES_MAX {
        return Ok(email);
    }
    Err(PeopleError::Field {
        field: "email",
        message: format!("`{}` is no address of e-mail", text.chars().take(64).collect::<String>()),
    })
}

fn name_of(text: &str, least: usize) -> Result<String, PeopleError> {
    let name = text.trim();
    if (least..=NAME_CHARS_MAX).contains(&name.chars().count()) && !name.chars().any(char::is_control) {
        return Ok(name.to_owned());
    }
    let message = format!("name must have {least} to {NAME_CHARS_MAX} characters and no control characters");
    Err(PeopleError::Field { field: "name", message })
}

fn checked_slug(slug: &str) -> Result<String, PeopleError> {
    let letters = slug.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    if letters && (2..=SLUG_BYTES_MAX).contains(&slug.len()) && slug.as_bytes()[0].is_ascii_lowercase() {
        return Ok(slug.to_owned());
    }
    let message = format!("slug must have 2 to {SLUG_BYTES_MAX} of a-z, 0-9 and `-`, and begin with a letter");
    Err(PeopleError::Field { field: "slug", message })
}

/// The name's letters with eight random digits behind them, so that two of one name do not meet.
fn slug_of(name: &str, random: &str) -> String {
    let dashed: String =
        name.to_lowercase().chars().map(|letter| if letter.is_ascii_alphanumeric() { letter } else { '-' }).collect();
    let words: Vec<&str> = dashed.split('-').filter(|word| !word.is_empty()).collect();
    let mut slug: String = words.join("-").chars().take(SLUG_BYTES_MAX - 9).collect();
    if !slug.starts_with(|letter: char| letter.is_ascii_lowercase()) {
        slug = format!("o-{slug}").chars().take(SLUG_BYTES_MAX - 9).collect();
    }
    format!("{}-{}", slug.trim_end_matches('-'), random.chars().filter(char::is_ascii_hexdigit).take(8).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_as_far_as_they_can_be_told() {
        assert_eq!(email_of(" A.B@Example.org ").expect("an address"), "a.b@example.org");
        for refused in ["", "a", "@b", "a@", "a b@c", "a@b@", "a@b\n.c", &format!("{}@b", "a".repeat(253))] {
            assert!(matches!(email_of(refused), Err(PeopleError::Field { field: "email", .. })), "{refused}");
        }
    }

    #[test]
    fn a_slug_is_made_of_any_name() {
        for (name, begins) in [("Acme  Inc.", "acme-inc-"), ("\u{e9}t\u{e9}", "t-"), ("42", "o-42-"), ("--", "o-")] {
            let slug = slug_of(name, "0123-4567-89");
            assert!(slug.starts_with(begins) && slug.ends_with("-01234567"), "{slug}");
            assert!(checked_slug(&slug).is_ok(), "{slug}");
        }
        assert!(checked_slug(&slug_of(&"word ".repeat(50), "0123456789")).is_ok());
        for refused in ["", "a", "Acme", "9a", "-a", "a b", &"a".repeat(41)] {
            assert!(matches!(checked_slug(refused), Err(PeopleError::Field { field: "slug", .. })), "{refused}");
        }
    }
}
