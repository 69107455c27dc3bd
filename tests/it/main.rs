//! The integration suite: the real binary, a real engine, real PostgreSQL. `tests/run.sh` runs it area by area and
//! prints the table; `cargo test --workspace --test it -- stack::` runs one area.

mod world;

mod api;
mod command_line;
mod engine_dies;
mod failures;
mod images;
mod keeping;
mod kills;
mod lifecycle;
mod management;
mod many;
mod mutants;
mod notify;
mod people;
mod plugins;
mod resources;
mod soak;
mod stack;
mod standby;
mod tidy;
mod update;
mod watching;
