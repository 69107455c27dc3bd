//! What stands between the generated exports and an author's type: `describe` answers with the crate's own
//! name and version, and a panic writes its message through the `log` import before it traps (a trap alone
//! carries no words).

use std::marker::PhantomData;

use crate::{Description, Error, File, Outcome, PostCreator, Prober, Renderer, Report, Wanted};

/// What `describe` answers; the `export_*!` macros fill it from the plugin crate's Cargo.toml.
#[doc(hidden)]
pub trait Described {
    /// The answer.
    fn describe() -> Description;
}

/// Carries an author's type into the generated export macros.
#[doc(hidden)]
pub struct Exported<T>(PhantomData<T>);

/// Makes a panic heard. Every call runs in a new instance, so it is set in every call.
fn hear_panics() {
    #[cfg(target_arch = "wasm32")]
    std::panic::set_hook(Box::new(|panic| {
        crate::log::write(crate::log::Level::Error, &panic.to_string());
    }));
}

impl<T: Renderer + Described> crate::render::Guest for Exported<T> {
    fn describe() -> Description {
        T::describe()
    }

    fn render(context: String, wanted: Vec<Wanted>, so_far: Vec<File>) -> Result<Vec<File>, Error> {
        hear_panics();
        T::render(&context, wanted, so_far)
    }
}

impl<T: Prober + Described> crate::probe::Guest for Exported<T> {
    fn describe() -> Description {
        T::describe()
    }

    fn check(project: String, service: String, spec: String) -> Result<Option<Report>, Error> {
        hear_panics();
        T::check(&project, &service, &spec)
    }
}

impl<T: PostCreator + Described> crate::post_create::Guest for Exported<T> {
    fn describe() -> Description {
        T::describe()
    }

    fn run(context: String) -> Result<Outcome, Error> {
        hear_panics();
        T::run(&context)
    }

    fn undo(context: String, outcome: Outcome) -> Result<(), Error> {
        hear_panics();
        T::undo(&context, outcome)
    }
}

/// Answers `describe` from the Cargo.toml of the crate that calls it.
#[doc(hidden)]
#[macro_export]
macro_rules! __described {
    ($plugin:ident) => {
        impl $crate::Described for $plugin {
            fn describe() -> $crate::Description {
                $crate::Description {
                    name: env!("CARGO_PKG_NAME").into(),
                    version: env!("CARGO_PKG_VERSION").into(),
                    summary: env!("CARGO_PKG_DESCRIPTION").into(),
                }
            }
        }

        // The generated macros take a bare identifier.
        type SupamanagerPlugin = $crate::Exported<$plugin>;
    };
}

/// Exports a [`Renderer`](crate::Renderer): `supamanager_plugin::export_renderer!(MyType);`
#[macro_export]
macro_rules! export_renderer {
    ($plugin:ident) => {
        $crate::__described!($plugin);
        $crate::render::export!(SupamanagerPlugin with_types_in $crate::render);
    };
}

/// Exports a [`Prober`](crate::Prober): `supamanager_plugin::export_prober!(MyType);`
#[macro_export]
macro_rules! export_prober {
    ($plugin:ident) => {
        $crate::__described!($plugin);
        $crate::probe::export!(SupamanagerPlugin with_types_in $crate::probe);
    };
}

/// Exports a [`PostCreator`](crate::PostCreator): `supamanager_plugin::export_post_creator!(MyType);`
#[macro_export]
macro_rules! export_post_creator {
    ($plugin:ident) => {
        $crate::__described!($plugin);
        $crate::post_create::export!(SupamanagerPlugin with_types_in $crate::post_create);
    };
}
