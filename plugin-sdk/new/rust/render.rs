//! Copies the text of every wanted template to its path.

use supamanager_plugin::{Error, File, Renderer, Wanted, export_renderer, templates};

struct Plugin;

impl Renderer for Plugin {
    fn render(_context: &str, wanted: Vec<Wanted>, _so_far: Vec<File>) -> Result<Vec<File>, Error> {
        wanted.into_iter().map(copy).collect()
    }
}

export_renderer!(Plugin);

fn copy(wanted: Wanted) -> Result<File, Error> {
    let content = templates::read(&wanted.template)?;
    Ok(File { path: wanted.path, mode: wanted.mode, content })
}
