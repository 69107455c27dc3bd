-- Only the schema and its key table: nothing in a stack calls libsodium directly.
create schema pgsodium;
create table pgsodium.key (
  id uuid primary key default gen_random_uuid(), name text unique, status text default 'valid', created timestamptz default now());
grant usage on schema pgsodium to pgsodium_keyiduser;
