//! What a renderer may hand back: few, small files with harmless names. What is *in* them is the fence's.

use super::hooks::{HookError, RenderedFile};
use super::limits::{Hook, HookLimits, LimitReached};

/// More files than a stack has services, and fewer than somebody could hide one in.
const FILES_MAX: usize = 64;
const PATH_BYTES_MAX: usize = 255;

/// Takes what one renderer made into what those before it made; a file of the same path is replaced.
///
/// # Errors
/// [`HookError::Limit`] for too much, [`HookError::Failed`] for a file that may not be.
pub fn fold(
    plugin: &str,
    limits: &HookLimits,
    mut so_far: Vec<RenderedFile>,
    made: Vec<RenderedFile>,
) -> Result<Vec<RenderedFile>, HookError> {
    let bytes = made.iter().map(|file| file.path.len() + file.content.len()).sum();
    if bytes > limits.result_bytes {
        return Err(LimitReached::result(bytes, limits).of(plugin, Hook::Render));
    }
    let refused = |message| HookError::Failed { plugin: plugin.to_owned(), message };
    for (index, file) in made.iter().enumerate() {
        check_path(&file.path).map_err(refused)?;
        if file.mode > 0o777 {
            return Err(refused(format!("it made `{}` with the mode {:o}, at most 777 is allowed", file.path, file.mode)));
        }
        if made[..index].iter().any(|other| other.path == file.path) {
            return Err(refused(format!("it made `{}` twice", file.path)));
        }
    }
    so_far.retain(|old| made.iter().all(|new| new.path != old.path));
    so_far.extend(made);
    if so_far.len() > FILES_MAX {
        return Err(refused(format!("there are {} files, at most {FILES_MAX} are allowed", so_far.len())));
    }
    Ok(so_far)
}

/// Whether everything that was asked for is there.
///
/// # Errors
/// [`HookError::Failed`] naming the first file that nobody made.
pub fn check_complete(plugin: &str, wanted: &[(String, String, u32)], files: &[RenderedFile]) -> Result<(), HookError> {
    match wanted.iter().find(|(_, path, _)| files.iter().all(|file| file.path != *path)) {
        None => Ok(()),
        Some((template, path, _)) => {
            let message = format!("it did not make `{path}` of the template `{template}`");
            Err(HookError::Failed { plugin: plugin.to_owned(), message })
        }
    }
}

fn check_path(path: &str) -> Result<(), String> {
    let bad_part = |part: &str| part.is_empty() || part == "." || part == "..";
    let bad_char = |c: char| c.is_control() || c == '\\';
    if path.len() > PATH_BYTES_MAX || path.split('/').any(bad_part) || path.contains(bad_char) {
        let shown: String = path.chars().take(100).collect();
        return Err(format!("it made a file `{}`: paths are relative, without `..` and short", shown.escape_default()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugin_host::limits::Limits;

    fn file(path: &str, mode: u32, content: &str) -> RenderedFile {
        RenderedFile { path: path.to_owned(), mode, content: content.to_owned() }
    }

    fn folded(so_far: Vec<RenderedFile>, made: Vec<RenderedFile>) -> Result<Vec<RenderedFile>, HookError> {
        fold("p", &Limits::default().render, so_far, made)
    }

    #[test]
    fn a_later_renderer_replaces_files_of_the_same_path() {
        let files = folded(vec![file("a", 0o600, "1"), file("b", 0o644, "1")], vec![file("a", 0o644, "2")]).unwrap();
        assert_eq!(files, [file("b", 0o644, "1"), file("a", 0o644, "2")]);
    }

    #[test]
    fn names_that_leave_the_folder_are_refused() {
        for path in ["../a", "/etc/passwd", "a/../../b", "", "a//b", "./a", "a\\b", "a\0b", "a\nb", &"a".repeat(256)] {
            assert!(matches!(folded(Vec::new(), vec![file(path, 0o644, "")]), Err(HookError::Failed { .. })), "{path:?}");
        }
        assert!(folded(Vec::new(), vec![file("sub/kong.yml", 0o644, "")]).is_ok());
    }

    #[test]
    fn modes_doubles_numbers_and_sizes_are_bounded() {
        assert!(folded(Vec::new(), vec![file("a", 0o4755, "")]).is_err());
        assert!(folded(Vec::new(), vec![file("a", 0o644, ""), file("a", 0o644, "")]).is_err());
        assert!(folded(Vec::new(), (0..65).map(|n| file(&n.to_string(), 0o644, "")).collect()).is_err());
        let large = folded(Vec::new(), vec![file("a", 0o644, &"x".repeat(5 << 20))]);
        assert!(matches!(large, Err(HookError::Limit { limit: "result bytes", .. })));
    }

    #[test]
    fn a_file_that_nobody_made_is_named() {
        let wanted = [("k.tmpl".to_owned(), "kong.yml".to_owned(), 0o644)];
        let error = check_complete("p", &wanted, &[]).unwrap_err();
        assert!(error.to_string().contains("kong.yml"));
    }
}
