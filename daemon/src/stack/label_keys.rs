//! The keys of our labels (decision 17). They stand here because the fence reserves what the backend writes, and
//! nothing in this module may use a backend.

/// Which installation owns the object. Nothing without it is ever touched.
pub const INSTALLATION: &str = "io.supamanager.installation";
/// The ref.
pub const PROJECT: &str = "io.supamanager.project";
/// The service, on containers.
pub const SERVICE: &str = "io.supamanager.service";
/// The project's generation.
pub const GENERATION: &str = "io.supamanager.generation";
/// The operation that made it.
pub const OPERATION: &str = "io.supamanager.operation";
/// A keyed hash of everything the object was made from.
pub const SPEC_HASH: &str = "io.supamanager.spec-hash";
/// `helper` on short-lived containers, else absent.
pub const ROLE: &str = "io.supamanager.role";
