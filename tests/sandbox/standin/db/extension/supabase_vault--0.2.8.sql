-- The table that Vault's users write to; values stay as they are here.
create schema vault;
create table vault.secrets (
  id uuid primary key default gen_random_uuid(), name text unique, description text not null default '', secret text not null,
  created_at timestamptz not null default now(), updated_at timestamptz not null default now());
create view vault.decrypted_secrets as select id, name, description, secret, secret as decrypted_secret, created_at, updated_at
  from vault.secrets;
