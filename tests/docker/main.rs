//! The Docker backend against a real engine: what it promises in `backend/mod.rs`, and the engine's bad manners
//! (reliability.md 2) as far as they can be provoked. `contract` is what the fake engine is held to as well.

mod proxy;
mod world;

mod containers;
mod contract;
mod inside;
mod limits;
mod manners;
mod networks_and_volumes;
mod reaching;
