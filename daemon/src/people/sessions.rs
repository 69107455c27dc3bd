//! Sessions: a password buys a short-lived JWT (HS256) and a refresh token that is good once.

use std::net::IpAddr;

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::accounts::email_of;
use super::{Done, People, PeopleError, hash, secret_to_show};
use crate::domain::{Caller, Secret, UnixMillis, User};
use crate::secrets::{MasterKey, new_uuid};
use crate::store::{Refreshed, Session};

/// How long a refresh token is taken once more after its use: two tabs of one browser ask at the same time. The ten
/// seconds are GoTrue's default.
const REUSE_MS: i64 = 10_000;
/// Whom our tokens are for, so that one of a project's own is never taken for ours.
const AUDIENCE: &str = "authenticated";
const ISSUER: &str = "supamanager";

/// The keys that sign and check sessions. They come from the master key, which says them again after a restart.
#[derive(Clone)]
pub(super) struct SigningKey {
    encode: EncodingKey,
    decode: DecodingKey,
}

impl SigningKey {
    pub(super) fn of(key: &MasterKey) -> Self {
        let secret = key.hash(&["sessions"]);
        Self { encode: EncodingKey::from_secret(secret.as_bytes()), decode: DecodingKey::from_secret(secret.as_bytes()) }
    }
}

/// What a session's JWT says; the names are those that Studio reads.
#[derive(Serialize, Deserialize)]
struct Claims {
    iss: String,
    aud: String,
    /// The user's UUID.
    sub: String,
    /// Seconds since the epoch.
    iat: i64,
    /// Seconds since the epoch.
    exp: i64,
    email: String,
    role: String,
    aal: String,
    amr: Vec<serde_json::Value>,
    session_id: String,
}

/// What somebody gets who signs in or refreshes.
pub struct Grant {
    /// The JWT.
    pub access_token: Secret<String>,
    /// How long it is good for, in seconds.
    pub expires_in: u64,
    /// Until when, in seconds since the epoch.
    pub expires_at: i64,
    /// Good once.
    pub refresh_token: Secret<String>,
    /// Who it is.
    pub user: User,
}

impl People {
    /// Begins a session for whoever knows the password. `network` is where the request came from.
    ///
    /// # Errors
    /// [`PeopleError::WrongPassword`], [`PeopleError::TooManyTries`], else as the store.
    pub async fn sign_in(&self, email: &str, password: Secret<String>, network: Option<IpAddr>) -> Result<Grant, PeopleError> {
        // What can be nobody's address is not looked up and not remembered.
        let email = email_of(email).map_err(|_| PeopleError::WrongPassword)?;
        self.throttle.may_try(&email, network)?;
        let found = self.store.user_by_email(&email).await?;
        let hash = found.as_ref().map(|(_, hash)| hash.clone());
        let right = self.passwords.verify(password, hash).await?;
        let Some((user, hash)) = found.filter(|(user, _)| right && user.disabled_at.is_none()) else {
            return Err(PeopleError::WrongPassword);
        };
        let now = self.clock.now();
        let life_ms = i64::try_from(self.rules.session_s).unwrap_or(i64::MAX / 2_000) * 1000;
        let session = Session { id: new_uuid()?, user_id: user.id.clone(), expires_at: now + life_ms };
        let (refresh, refresh_hash) = secret_to_show("")?;
        if !self.store.begin_session(&session, &hash, &refresh_hash, now).await? {
            return Err(PeopleError::WrongPassword);
        }
        let done = Done { action: "session.begin", organization: None, project: None, detail: &json!({}) };
        self.audit_as(&user.id, &user.email, done).await?;
        self.grant(user, session, refresh, now)
    }

    /// Goes on with a session.
    ///
    /// # Errors
    /// [`PeopleError::Unknown`] when the token is nobody's or was used before, which ends the session.
    pub async fn refresh(&self, shown: &str) -> Result<Grant, PeopleError> {
        // Anybody may ask: what is nobody's costs a read, not a write.
        if !self.store.knows_refresh(&hash(shown)).await? {
            return Err(PeopleError::Unknown("this refresh token is not good any more: sign in again"));
        }
        let (next, next_hash) = secret_to_show("")?;
        let now = self.clock.now();
        match self.store.refresh_session(&hash(shown), &next_hash, REUSE_MS, now).await? {
            Refreshed::Session(session) => {
                let user = self.store.user(&session.user_id).await?;
                let user = user.ok_or(PeopleError::Unknown("this session's user is gone: sign in again"))?;
                self.grant(user, session, next, now)
            }
            Refreshed::Reused(session) => {
                let name = self.store.user(&session.user_id).await?.map(|user| user.email).unwrap_or_default();
                let detail = json!({"session": session.id});
                let done = Done { action: "session.reused", organization: None, project: None, detail: &detail };
                self.audit_as(&session.user_id, &name, done).await?;
                tracing::warn!(user = name, "a refresh token came a second time: its session has ended");
                Err(PeopleError::Unknown("this refresh token was used before, so the session has ended: sign in again"))
            }
            Refreshed::Nothing => Err(PeopleError::Unknown("this refresh token is not good any more: sign in again")),
        }
    }

    /// Ends the session of an access token, or every session of its user.
    ///
    /// # Errors
    /// [`PeopleError::Unknown`] when the token is not good.
    pub async fn sign_out(&self, access_token: &str, everywhere: bool) -> Result<(), PeopleError> {
        let claims = self.claims(access_token)?;
        let now = self.clock.now();
        if everywhere {
            self.store.end_sessions(&claims.sub, "signed out", now).await?;
        } else {
            self.store.end_session(&claims.session_id, "signed out", now).await?;
        }
        let detail = json!({"everywhere": everywhere});
        let done = Done { action: "session.end", organization: None, project: None, detail: &detail };
        self.audit_as(&claims.sub, &claims.email, done).await
    }

    /// Whose session this is.
    pub(super) async fn caller_of_session(&self, access_token: &str) -> Result<Caller, PeopleError> {
        let claims = self.claims(access_token)?;
        let caller = self.store.caller_of_session(&claims.session_id, self.clock.now()).await?;
        caller.ok_or(PeopleError::Unknown("this session has ended: sign in again"))
    }

    fn claims(&self, access_token: &str) -> Result<Claims, PeopleError> {
        let mut validation = Validation::new(Algorithm::HS256);
        validation.set_audience(&[AUDIENCE]);
        validation.set_issuer(&[ISSUER]);
        validation.set_required_spec_claims(&["exp", "aud", "iss", "sub"]);
        // It is this clock that said when it ends.
        validation.leeway = 0;
        validation.validate_exp = false;
        let unknown =
            PeopleError::Unknown("this is no access token of this daemon: sign in, or use a token that begins with sbp_");
        let claims = jsonwebtoken::decode::<Claims>(access_token, &self.signing.decode, &validation).map_err(|_| unknown)?.claims;
        if claims.exp * 1000 <= self.clock.now() {
            return Err(PeopleError::Unknown("this access token has expired: refresh the session"));
        }
        Ok(claims)
    }

    fn grant(&self, user: User, session: Session, refresh_token: Secret<String>, now: UnixMillis) -> Result<Grant, PeopleError> {
        let life = i64::try_from(self.rules.access_s).unwrap_or(i64::MAX / 2_000);
        let expires_at = (now / 1000 + life).min(session.expires_at / 1000);
        let claims = Claims {
            iss: ISSUER.to_owned(),
            aud: AUDIENCE.to_owned(),
            sub: user.id.clone(),
            iat: now / 1000,
            exp: expires_at,
            email: user.email.clone(),
            role: AUDIENCE.to_owned(),
            aal: "aal1".to_owned(),
            amr: vec![json!({"method": "password", "timestamp": now / 1000})],
            session_id: session.id,
        };
        let signed = jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &self.signing.encode);
        let signed = signed.map_err(|error| PeopleError::System(format!("a session could not be signed: {error}")))?;
        let expires_in = u64::try_from(expires_at - now / 1000).unwrap_or_default();
        Ok(Grant { access_token: Secret::new(signed), expires_in, expires_at, refresh_token, user })
    }
}
