//! A guest that panics: a trap carries no words, so the SDK writes them to the log before it.

use supamanager_plugin::{Error, File, Renderer, Wanted, export_renderer};

struct Panics;

impl Renderer for Panics {
    fn render(_: &str, wanted: Vec<Wanted>, _: Vec<File>) -> Result<Vec<File>, Error> {
        panic!("the cellar is under water, {} files are wet", wanted.len())
    }
}

export_renderer!(Panics);
