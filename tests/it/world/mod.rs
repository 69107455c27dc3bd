//! The world under test: a daemon of its own with its own folder, ports and subnets, on the one engine of this
//! machine. `finish` is part of every test: it looks for leaks and for unexpected WARN and ERROR lines.

mod api;
mod command;
mod compiled;
mod daemon;
mod engine;
mod files;
mod registry;
mod slow_engine;
mod user;

pub use api::{Answer, Api};
pub use command::run;
pub use daemon::{Daemon, Options, binary_path, copy_plugins, image_set, plugins_dir};
pub use engine::{Decoys, Engine, ForeignNetwork};
pub use files::{broken_images, copy_folder, root, scratch};
pub use registry::Registry;
pub use slow_engine::SlowEngine;
pub use user::User;
