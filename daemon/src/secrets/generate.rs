//! New values, all from the operating system's generator.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use rand::TryRng;
use rand::rngs::SysRng;
use serde_json::{Map, Value};

use super::ProjectSecrets;
use crate::domain::{Encoding, ProjectRef, Secret, SecretKind, SecretSpec, UnixMillis};

/// Why a value could not be made.
#[derive(Debug, thiserror::Error)]
pub enum GenerateError {
    /// The operating system gave no random bytes.
    #[error("the operating system gave no random bytes: {0}")]
    System(String),
    /// A token could not be signed.
    #[error("secret `{0}` could not be signed")]
    Sign(String),
}

/// Every secret the set declares. `given` is the owner's own password, if the user chose one.
///
/// # Errors
/// [`GenerateError`].
pub fn generate(specs: &[SecretSpec], given: Option<Secret<String>>, now: UnixMillis) -> Result<ProjectSecrets, GenerateError> {
    let owners = specs.iter().find(|spec| spec.kind == SecretKind::OwnerPassword);
    let given = owners.and_then(|spec| Some((spec.name.clone(), given?)));
    Ok(complete(specs, ProjectSecrets::from_values(given.into_iter().collect()), now)?.0)
}

/// What a project has, and what the set declares beyond it, made now. Returns the names of what was made, too.
///
/// # Errors
/// [`GenerateError`].
pub fn complete(
    specs: &[SecretSpec],
    have: ProjectSecrets,
    now: UnixMillis,
) -> Result<(ProjectSecrets, Vec<String>), GenerateError> {
    let missing: Vec<&SecretSpec> = specs.iter().filter(|spec| have.get(&spec.name).is_none()).collect();
    let mut values: BTreeMap<String, Secret<String>> =
        have.iter().map(|(name, value)| (name.to_owned(), value.clone())).collect();
    for spec in missing.iter().filter(|spec| spec.kind != SecretKind::Jwt) {
        values.insert(spec.name.clone(), random(spec)?);
    }
    for spec in missing.iter().filter(|spec| spec.kind == SecretKind::Jwt) {
        let signer = spec.signed_with.as_ref().and_then(|name| values.get(name));
        let signer = signer.ok_or_else(|| GenerateError::Sign(spec.name.clone()))?.clone();
        values.insert(spec.name.clone(), sign(spec, &signer, now)?);
    }
    Ok((ProjectSecrets::from_values(values), missing.iter().map(|spec| spec.name.clone()).collect()))
}

/// A value that is a role's password begins with a letter: a leading `-` is taken for an option by some
/// programs (decision 13). Drawing again costs less than one bit.
fn random(spec: &SecretSpec) -> Result<Secret<String>, GenerateError> {
    loop {
        let bytes = random_bytes(spec.bytes)?;
        let value = match spec.encoding {
            Encoding::Base64url => URL_SAFE_NO_PAD.encode(&bytes),
            Encoding::Hex => hex(&bytes),
        };
        if spec.role.is_none() || value.starts_with(|first: char| first.is_ascii_alphabetic()) {
            return Ok(Secret::new(value));
        }
    }
}

/// HS256 over the claims plus `iat` and `exp`, keyed with the secret's own characters: no service decodes it.
fn sign(spec: &SecretSpec, signer: &Secret<String>, now: UnixMillis) -> Result<Secret<String>, GenerateError> {
    let issued = now / 1000;
    let mut claims: Map<String, Value> = spec.claims.iter().map(|(k, v)| (k.clone(), Value::from(v.clone()))).collect();
    claims.insert("iat".to_owned(), issued.into());
    claims.insert("exp".to_owned(), (issued + i64::from(spec.ttl_days) * 86_400).into());
    let key = EncodingKey::from_secret(signer.expose().as_bytes());
    let token = jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &key);
    token.map(Secret::new).map_err(|_| GenerateError::Sign(spec.name.clone()))
}

/// A new ref: twenty letters a-z, 94 bits.
///
/// # Errors
/// [`GenerateError::System`].
pub fn new_ref() -> Result<ProjectRef, GenerateError> {
    let mut letters = String::with_capacity(20);
    while letters.len() < 20 {
        // 234 = 9 * 26: bytes above it would make some letters likelier than others.
        let fair = random_bytes(32)?.into_iter().filter(|byte| *byte < 234);
        letters.extend(fair.map(|byte| char::from(b'a' + byte % 26)).take(20 - letters.len()));
    }
    ProjectRef::parse(&letters).map_err(|error| GenerateError::System(error.to_string()))
}

/// A new random UUID (version 4).
///
/// # Errors
/// [`GenerateError::System`].
pub fn new_uuid() -> Result<String, GenerateError> {
    let mut bytes = [0; 16];
    SysRng.try_fill_bytes(&mut bytes).map_err(|error| GenerateError::System(error.to_string()))?;
    Ok(uuid::Builder::from_random_bytes(bytes).into_uuid().to_string())
}

/// So many random bytes as hexadecimal digits.
///
/// # Errors
/// [`GenerateError::System`].
pub fn new_hex(bytes: usize) -> Result<String, GenerateError> {
    Ok(hex(&random_bytes(bytes)?))
}

pub(super) fn random_bytes(length: usize) -> Result<Vec<u8>, GenerateError> {
    let mut bytes = vec![0; length];
    SysRng.try_fill_bytes(&mut bytes).map_err(|error| GenerateError::System(error.to_string()))?;
    Ok(bytes)
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(text: &str) -> SecretSpec {
        toml::from_str(text).expect("test data")
    }

    #[test]
    fn lengths_and_alphabets_are_as_declared() {
        let specs = [
            spec("name='JWT_SECRET'\nkind='random'\nbytes=64"),
            spec("name='ENC'\nkind='random'\nbytes=12"),
            spec("name='COOKIE'\nkind='random'\nbytes=32\nencoding='hex'"),
            spec("name='ANON_KEY'\nkind='jwt'\nsigned_with='JWT_SECRET'\nttl_days=3652\nclaims={role='anon'}"),
        ];
        let secrets = generate(&specs, None, 1_700_000_000_000).unwrap_or_else(|error| panic!("{error}"));
        let length = |name| secrets.get(name).expect("made").expose().len();
        assert_eq!((length("JWT_SECRET"), length("ENC"), length("COOKIE")), (86, 16, 64));
        let safe = |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
        assert!(secrets.iter().all(|(_, value)| safe(value.expose())));
        let mut validation = jsonwebtoken::Validation::new(Algorithm::HS256);
        validation.required_spec_claims.clear();
        let key = jsonwebtoken::DecodingKey::from_secret(secrets.get("JWT_SECRET").expect("made").expose().as_bytes());
        let token =
            jsonwebtoken::decode::<Map<String, Value>>(secrets.get("ANON_KEY").expect("made").expose(), &key, &validation);
        let claims = token.expect("verifies").claims;
        assert_eq!((claims["role"].as_str(), claims["exp"].as_i64()), (Some("anon"), Some(1_700_000_000 + 3652 * 86_400)));
    }

    #[test]
    fn a_roles_password_begins_with_a_letter() {
        let spec = spec("name='P'\nkind='random'\nbytes=32\nrole='r'");
        for _ in 0..500 {
            let value = random(&spec).unwrap_or_else(|error| panic!("{error}"));
            assert!(value.expose().starts_with(|c: char| c.is_ascii_alphabetic()));
        }
    }

    #[test]
    fn refs_are_fair() {
        let letters: String = (0..400).map(|_| new_ref().expect("a ref").to_string()).collect();
        for letter in 'a'..='z' {
            let share = letters.matches(letter).count();
            assert!((180..450).contains(&share), "{letter} came {share} times in 8000, expected about 308");
        }
    }
}
