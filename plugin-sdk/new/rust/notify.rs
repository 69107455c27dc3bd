//! Counts the messages of each project and says so in the operator's log.

use supamanager_plugin::{AccessError, Error, Notifier, export_notifier, log, memory};

const HEARD: &str = "heard";

struct Plugin;

impl Notifier for Plugin {
    fn notify(_message: &str) -> Result<(), Error> {
        let before = match memory::get(HEARD) {
            // What is remembered is a project's, and some messages are about none.
            Err(AccessError::Denied(_)) => return Ok(()),
            before => before.map_err(failed)?,
        };
        let count = count(before.as_deref())?;
        memory::set(HEARD, count.to_string().as_bytes()).map_err(failed)?;
        log::write(log::Level::Info, &format!("message {count} of this project"));
        Ok(())
    }
}

export_notifier!(Plugin);

/// With this message.
fn count(before: Option<&[u8]>) -> Result<u64, Error> {
    let text = String::from_utf8_lossy(before.unwrap_or(b"0"));
    let before: u64 = text.parse().map_err(|_| Error::Failed(format!("`{HEARD}` is no number: {text}")))?;
    Ok(before + 1)
}

fn failed(error: AccessError) -> Error {
    Error::Failed(error.text().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_message_is_number_one() {
        assert!(matches!(count(None), Ok(1)));
        assert!(matches!(count(Some(b"41")), Ok(42)));
        assert!(count(Some(b"many")).is_err());
    }
}
