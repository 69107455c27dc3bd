//! The integration suite: the real binary, a real engine, real PostgreSQL. `tests/run.sh` runs it area by area and
//! prints the table; `cargo test --workspace --test it -- stack::` runs one area.

mod world;

mod api;
mod command_line;
mod failures;
mod images;
mod kills;
mod mutants;
mod plugins;
mod stack;
mod tidy;
