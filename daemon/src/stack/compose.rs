//! `docker-compose.yml` -> [`super::Stack`], strictly: a key nobody knows is an error that names it.
