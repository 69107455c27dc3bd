//! What stands between the generated exports and an author's type: `describe` answers with the crate's own
//! name and version, and a panic writes its message through the `log` import before it traps (a trap alone
//! carries no words).

use std::marker::PhantomData;

use crate::{
    Admitter, AfterResume, BeforeDelete, Decision, Description, Error, File, Notifier, Outcome, PostCreator, Prober, Renderer,
    Report, Wanted,
};

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

impl<T: Admitter + Described> crate::admit::Guest for Exported<T> {
    fn describe() -> Description {
        T::describe()
    }

    fn admit(request: String) -> Result<Decision, Error> {
        hear_panics();
        T::admit(&request)
    }
}

impl<T: BeforeDelete + Described> crate::before_delete::Guest for Exported<T> {
    fn describe() -> Description {
        T::describe()
    }

    fn before_delete(context: String) -> Result<String, Error> {
        hear_panics();
        T::before_delete(&context)
    }
}

impl<T: AfterResume + Described> crate::after_resume::Guest for Exported<T> {
    fn describe() -> Description {
        T::describe()
    }

    fn after_resume(context: String) -> Result<String, Error> {
        hear_panics();
        T::after_resume(&context)
    }
}

impl<T: Notifier + Described> crate::notify::Guest for Exported<T> {
    fn describe() -> Description {
        T::describe()
    }

    fn notify(message: String) -> Result<(), Error> {
        hear_panics();
        T::notify(&message)
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

/// Exports an [`Admitter`](crate::Admitter): `supamanager_plugin::export_admitter!(MyType);`
#[macro_export]
macro_rules! export_admitter {
    ($plugin:ident) => {
        $crate::__described!($plugin);
        $crate::admit::export!(SupamanagerPlugin with_types_in $crate::admit);
    };
}

/// Exports a [`BeforeDelete`](crate::BeforeDelete): `supamanager_plugin::export_before_delete!(MyType);`
#[macro_export]
macro_rules! export_before_delete {
    ($plugin:ident) => {
        $crate::__described!($plugin);
        $crate::before_delete::export!(SupamanagerPlugin with_types_in $crate::before_delete);
    };
}

/// Exports an [`AfterResume`](crate::AfterResume): `supamanager_plugin::export_after_resume!(MyType);`
#[macro_export]
macro_rules! export_after_resume {
    ($plugin:ident) => {
        $crate::__described!($plugin);
        $crate::after_resume::export!(SupamanagerPlugin with_types_in $crate::after_resume);
    };
}

/// Exports a [`Notifier`](crate::Notifier): `supamanager_plugin::export_notifier!(MyType);`
#[macro_export]
macro_rules! export_notifier {
    ($plugin:ident) => {
        $crate::__described!($plugin);
        $crate::notify::export!(SupamanagerPlugin with_types_in $crate::notify);
    };
}
