//! The owner's database password: whatever the user chose, set over a login, never in a file (decision 11).

use async_trait::async_trait;

use super::{StepContext, StepEffect, StepError};
use crate::domain::SecretKind;

pub(super) struct OwnerPassword;

#[async_trait]
impl StepEffect for OwnerPassword {
    async fn observe(&self, _: &StepContext) -> Result<bool, StepError> {
        Ok(false)
    }

    async fn ensure(&self, context: &StepContext) -> Result<String, StepError> {
        let owners = context.set.spec.secrets.iter().filter(|secret| secret.kind == SecretKind::OwnerPassword);
        let mut set = Vec::new();
        for secret in owners {
            let (Some(role), Some(admin), Some(service)) = (&secret.role, &secret.admin_role, &secret.service) else { continue };
            let missing = || StepError::permanent("secret_missing", format!("secret {} is not in the store", secret.name));
            let password = context.secrets.get(&secret.name).ok_or_else(missing)?;
            context
                .reach()
                .set_password(service, admin, role, password, context.time_left())
                .await
                .map_err(|error| StepError::from(error).of(service))?;
            set.push(role.as_str());
        }
        Ok(format!("set for {}", set.join(", ")))
    }

    /// It goes with the database.
    async fn remove(&self, _: &StepContext) -> Result<(), StepError> {
        Ok(())
    }
}
