-- Schemas, extensions and the old baselines of auth and storage (stack-facts 4.2).

create schema pgbouncer authorization pgbouncer;
create function pgbouncer.get_auth(p_usename text) returns table(username text, password text)
language sql security definer set search_path = pg_catalog
as $$ select usename::text, passwd::text from pg_shadow where usename = p_usename $$;
revoke all on function pgbouncer.get_auth(text) from public;
grant execute on function pgbouncer.get_auth(text) to pgbouncer;

create schema extensions;
create extension "uuid-ossp" schema extensions;
create extension pgcrypto schema extensions;
create extension pg_stat_statements schema extensions;
create extension pgjwt schema extensions;
grant usage on schema extensions to postgres, anon, authenticated, service_role, dashboard_user;

grant usage on schema public to postgres, anon, authenticated, service_role;
grant create on schema public to postgres;
alter default privileges in schema public grant all on tables to postgres, anon, authenticated, service_role;
alter default privileges in schema public grant all on functions to postgres, anon, authenticated, service_role;
alter default privileges in schema public grant all on sequences to postgres, anon, authenticated, service_role;

create schema auth authorization supabase_admin;
grant all on schema auth to supabase_auth_admin;
grant usage on schema auth to anon, authenticated, service_role, dashboard_user, postgres;
set role supabase_admin;
create table auth.users (
  instance_id uuid, id uuid not null unique, aud varchar(255), role varchar(255), email varchar(255) unique,
  encrypted_password varchar(255), confirmed_at timestamptz, invited_at timestamptz, last_sign_in_at timestamptz,
  raw_app_meta_data jsonb, raw_user_meta_data jsonb, is_super_admin bool, created_at timestamptz, updated_at timestamptz,
  primary key (id));
create table auth.refresh_tokens (
  instance_id uuid, id bigserial primary key, token varchar(255), user_id varchar(255), revoked bool,
  created_at timestamptz, updated_at timestamptz);
create table auth.instances (
  id uuid primary key, uuid uuid, raw_base_config text, created_at timestamptz, updated_at timestamptz);
create table auth.audit_log_entries (instance_id uuid, id uuid primary key, payload json, created_at timestamptz);
create table auth.schema_migrations (version varchar(255) primary key);
create function auth.uid() returns uuid language sql stable
as $$ select nullif(coalesce(current_setting('request.jwt.claim.sub', true),
  current_setting('request.jwt.claims', true)::jsonb ->> 'sub'), '')::uuid $$;
create function auth.role() returns text language sql stable
as $$ select coalesce(nullif(current_setting('request.jwt.claim.role', true), ''),
  current_setting('request.jwt.claims', true)::jsonb ->> 'role') $$;
create function auth.email() returns text language sql stable
as $$ select current_setting('request.jwt.claims', true)::jsonb ->> 'email' $$;
reset role;
alter table auth.users owner to supabase_auth_admin;
alter table auth.refresh_tokens owner to supabase_auth_admin;
alter table auth.instances owner to supabase_auth_admin;
alter table auth.audit_log_entries owner to supabase_auth_admin;
alter table auth.schema_migrations owner to supabase_auth_admin;
alter function auth.uid() owner to supabase_auth_admin;
alter function auth.role() owner to supabase_auth_admin;
alter function auth.email() owner to supabase_auth_admin;

create schema storage authorization supabase_admin;
grant all on schema storage to supabase_storage_admin;
grant usage on schema storage to postgres, anon, authenticated, service_role, dashboard_user;
create table storage.buckets (
  id text primary key, name text not null unique, owner uuid, public bool default false,
  created_at timestamptz default now(), updated_at timestamptz default now());
create table storage.objects (
  id uuid primary key default extensions.uuid_generate_v4(), bucket_id text references storage.buckets, name text,
  owner uuid, version text, created_at timestamptz default now(), updated_at timestamptz default now(),
  last_accessed_at timestamptz default now(), metadata jsonb, unique (bucket_id, name));
create table storage.migrations (
  id integer primary key, name varchar(100) unique not null, hash varchar(40) not null,
  executed_at timestamp default current_timestamp);
alter table storage.buckets enable row level security;
alter table storage.objects enable row level security;
alter table storage.buckets owner to supabase_storage_admin;
alter table storage.objects owner to supabase_storage_admin;
alter table storage.migrations owner to supabase_storage_admin;
grant all on storage.buckets, storage.objects to anon, authenticated, service_role, postgres;
create function storage.filename(name text) returns text language sql immutable
as $$ select (string_to_array(name, '/'))[array_length(string_to_array(name, '/'), 1)] $$;
create function storage.foldername(name text) returns text[] language sql immutable
as $$ select (string_to_array(name, '/'))[1:array_length(string_to_array(name, '/'), 1) - 1] $$;
