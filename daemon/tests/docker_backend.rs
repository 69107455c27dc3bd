//! The Docker backend against a real engine: what it promises in `backend/mod.rs`, and the engine's bad manners
//! (reliability.md 2) as far as they can be provoked.

#[path = "docker_backend/proxy.rs"]
mod proxy;
#[path = "docker_backend/world.rs"]
mod world;

#[path = "docker_backend/containers.rs"]
mod containers;
#[path = "docker_backend/inside.rs"]
mod inside;
#[path = "docker_backend/manners.rs"]
mod manners;
#[path = "docker_backend/networks_and_volumes.rs"]
mod networks_and_volumes;
#[path = "docker_backend/reaching.rs"]
mod reaching;
