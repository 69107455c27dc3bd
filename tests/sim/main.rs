//! The lifecycle on the fake engine: the real store on a real file, the real plugins, and time that jumps to the next
//! thing that happens. A crash drops everything but the file, the folder and the engine, and begins again.

mod cores;
mod going_down;
mod hundred;
mod invariants;
mod listener;
mod lost;
mod matrix;
mod prepared;
mod records;
mod seeds;
mod stand;
