//! Standard output that may be closed by its reader, as `head` does: then the command ends quietly, instead of panicking
//! like `println!`.

use std::io::{ErrorKind, Write};

/// The reader of standard output is gone: nothing is left to be said.
#[derive(Debug, thiserror::Error)]
#[error("standard output is closed")]
pub struct ReaderGone;

/// Writes a line.
///
/// # Errors
/// [`ReaderGone`], or what else keeps it from being written.
pub fn line(text: &str) -> anyhow::Result<()> {
    write(&mut std::io::stdout().lock(), &format!("{text}\n"))
}

/// Writes a text as it is.
///
/// # Errors
/// As [`line`].
pub fn text(text: &str) -> anyhow::Result<()> {
    write(&mut std::io::stdout().lock(), text)
}

/// Writes a line to standard error; there is nobody to tell when that fails.
pub fn note(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

fn write(out: &mut impl Write, text: &str) -> anyhow::Result<()> {
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Err(ReaderGone.into()),
        other => Ok(other?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Closed(ErrorKind);

    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(self.0.into())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_who_went_away_is_told_from_a_full_disk() {
        let gone = |kind| write(&mut Closed(kind), "x").is_err_and(|error| error.is::<ReaderGone>());
        assert!(gone(ErrorKind::BrokenPipe) && !gone(ErrorKind::StorageFull));
    }
}
