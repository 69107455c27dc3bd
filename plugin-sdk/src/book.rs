//! The chapters of the book, so that `cargo test --doc` compiles every example in them.

macro_rules! chapters {
    ($($chapter:ident = $file:literal),+ $(,)?) => {
        $(#[doc = include_str!(concat!("../book/", $file))] mod $chapter {})+
    };
}

chapters! {
    first_plugin = "01-first-plugin.md",
    hooks = "02-hooks.md",
    imports = "03-imports.md",
    manifest = "04-manifest.md",
    limits_and_errors = "05-limits-and-errors.md",
    testing = "06-testing.md",
    languages = "07-languages.md",
    versions = "08-versions.md",
}
