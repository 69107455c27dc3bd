//! The store on the database that `SUPAMANAGER_TEST_DATABASE_URL` chooses, SQLite without it (`both`), and what only
//! PostgreSQL has: a lease over a connection, and a schema that must not fall behind (`postgres`).

mod both;
mod folder;
mod lease;
mod listed;
mod lost;
mod people;
mod plugins;
mod postgres;
mod update;
mod watched;
mod world;
