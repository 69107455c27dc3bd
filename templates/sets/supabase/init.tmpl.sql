-- What the database image leaves to whoever runs it, for project {{ project.ref }}. The image runs this file once, as
-- supabase_admin, at the very end of the first start. What a later version adds to existing projects cannot come from here.
--
-- One transaction: an error aborts the first start, and half of this must not be left behind.

\set ON_ERROR_STOP on

-- Statements below carry passwords: keep them out of the log and out of the statement statistics.
set log_statement = 'none';
set log_min_duration_statement = -1;
set log_min_error_statement = 'panic';
set pgaudit.log = 'none';
set pg_stat_statements.track = 'none';

begin;

-- ---- Database webhooks: a trigger function that sends requests through pg_net ----------------------------------------

do $body$
begin
  if not exists (select from pg_roles where rolname = 'supabase_functions_admin') then
    create role supabase_functions_admin login noinherit createrole;
  end if;
end
$body$;
grant supabase_functions_admin to postgres;
alter role supabase_functions_admin set search_path = supabase_functions;

-- Who may send requests, for whoever creates pg_net, now or anew. The default image has a trigger of this name already.
do $absent$
begin
  if exists (select from pg_event_trigger where evtname = 'issue_pg_net_access') then
    return;
  end if;

  create or replace function extensions.grant_pg_net_access() returns event_trigger
  language plpgsql
  as $body$
  declare
    sender regprocedure;
  begin
    if not exists (select from pg_extension where extname = 'pg_net') then
      return;
    end if;
    grant usage on schema net to supabase_functions_admin, postgres, anon, authenticated, service_role;
    for sender in
      select oid from pg_proc where pronamespace = 'net'::regnamespace and proname in ('http_get', 'http_post')
    loop
      execute format('alter function %s security definer', sender);
      execute format('alter function %s set search_path = net', sender);
      execute format('revoke all on function %s from public', sender);
      execute format(
        'grant execute on function %s to supabase_functions_admin, postgres, anon, authenticated, service_role', sender);
    end loop;
  end
  $body$;

  create event trigger issue_pg_net_access on ddl_command_end
    when tag in ('CREATE EXTENSION') execute function extensions.grant_pg_net_access();
end
$absent$;

create extension if not exists pg_net with schema extensions;

create schema supabase_functions authorization supabase_admin;
grant usage on schema supabase_functions to postgres, anon, authenticated, service_role;
grant all on schema supabase_functions to supabase_functions_admin;
alter default privileges in schema supabase_functions
  grant all on tables to postgres, anon, authenticated, service_role;
alter default privileges in schema supabase_functions
  grant all on functions to postgres, anon, authenticated, service_role;
alter default privileges in schema supabase_functions
  grant all on sequences to postgres, anon, authenticated, service_role;

create table supabase_functions.migrations (
  version text primary key,
  inserted_at timestamptz not null default now()
);
insert into supabase_functions.migrations (version) values ('initial'), ('20210809183423_update_grants');

create table supabase_functions.hooks (
  id bigserial primary key,
  hook_table_id integer not null,
  hook_name text not null,
  created_at timestamptz not null default now(),
  request_id bigint
);
create index supabase_functions_hooks_request_id_idx on supabase_functions.hooks (request_id);
create index supabase_functions_hooks_h_table_id_h_name_idx on supabase_functions.hooks (hook_table_id, hook_name);
comment on table supabase_functions.hooks is 'Which request each database webhook sent; pg_net keeps the answers.';

-- Trigger arguments: url, method (GET or POST), headers, params, time-out in milliseconds. Absent, empty and the word null
-- mean the default: that is what Studio writes for a field that was left alone.
create function supabase_functions.http_request() returns trigger
language plpgsql
security definer
set search_path = supabase_functions, pg_temp
as $body$
declare
  url text := nullif(nullif(tg_argv[0], ''), 'null');
  method text := upper(nullif(nullif(tg_argv[1], ''), 'null'));
  headers jsonb := coalesce(nullif(nullif(tg_argv[2], ''), 'null')::jsonb, '{"Content-Type": "application/json"}');
  params jsonb := coalesce(nullif(nullif(tg_argv[3], ''), 'null')::jsonb, '{}');
  timeout_ms integer := coalesce(nullif(nullif(tg_argv[4], ''), 'null')::integer, 1000);
  request bigint;
begin
  if url is null then
    raise exception 'webhook "%" has no url: give it as the first argument of its trigger', tg_name;
  end if;
  case method
    when 'GET' then
      request := net.http_get(url => url, params => params, headers => headers, timeout_milliseconds => timeout_ms);
    when 'POST' then
      request := net.http_post(
        url => url,
        body => jsonb_build_object(
          'type', tg_op,
          'table', tg_table_name,
          'schema', tg_table_schema,
          'record', case when tg_op <> 'DELETE' then to_jsonb(new) end,
          'old_record', case when tg_op <> 'INSERT' then to_jsonb(old) end),
        params => params,
        headers => headers,
        timeout_milliseconds => timeout_ms);
    else
      raise exception 'webhook "%" has the method "%": give GET or POST as its second argument', tg_name, method;
  end case;
  insert into supabase_functions.hooks (hook_table_id, hook_name, request_id) values (tg_relid::integer, tg_name, request);
  return coalesce(new, old);
end
$body$;

alter table supabase_functions.migrations owner to supabase_functions_admin;
alter table supabase_functions.hooks owner to supabase_functions_admin;
alter function supabase_functions.http_request() owner to supabase_functions_admin;
revoke all on function supabase_functions.http_request() from public;
grant execute on function supabase_functions.http_request() to postgres, anon, authenticated, service_role;

-- ---- Schemas that realtime and analytics expect to find -------------------------------------------------------------

create schema if not exists _realtime authorization postgres;
create schema if not exists _analytics authorization postgres;

-- ---- What meta logs in as: acts as postgres, but has a password that only this stack knows --------------------------

create role supamanager_meta login noinherit;
grant postgres to supamanager_meta;
alter role supamanager_meta set role to postgres;
comment on role supamanager_meta is 'supamanager: what the meta service logs in as; acts as postgres';

-- ---- One password per role, from this container's environment --------------------------------------------------------

\set pw `printenv AUTHENTICATOR_PASSWORD`
alter role authenticator password :'pw';
\set pw `printenv PGBOUNCER_PASSWORD`
alter role pgbouncer password :'pw';
\set pw `printenv AUTH_ADMIN_PASSWORD`
alter role supabase_auth_admin password :'pw';
\set pw `printenv STORAGE_ADMIN_PASSWORD`
alter role supabase_storage_admin password :'pw';
\set pw `printenv FUNCTIONS_ADMIN_PASSWORD`
alter role supabase_functions_admin password :'pw';
\set pw `printenv REPLICATION_ADMIN_PASSWORD`
alter role supabase_replication_admin password :'pw';
\set pw `printenv READ_ONLY_USER_PASSWORD`
alter role supabase_read_only_user password :'pw';
\set pw `printenv META_PASSWORD`
alter role supamanager_meta password :'pw';

-- A variable that is missing or empty takes the password away instead of failing.
do $body$
declare
  without_password text;
begin
  select string_agg(rolname, ', ' order by rolname) into without_password
    from pg_authid
    where rolcanlogin and rolpassword is null and rolname in (
      'authenticator', 'pgbouncer', 'supabase_admin', 'supabase_auth_admin', 'supabase_storage_admin',
      'supabase_functions_admin', 'supabase_replication_admin', 'supabase_read_only_user', 'supamanager_meta');
  if without_password is not null then
    raise exception 'no password for %: a variable of the db service in docker-compose.yml is missing or empty', without_password;
  end if;
end
$body$;

-- The image gave it supabase_admin's. The owner's own is set over a login as supabase_admin once the stack is healthy; it is in
-- no file and in no environment.
alter role postgres password null;
{%- if options.app_settings_jwt|default(false) %}

-- ---- Asked for by the option app_settings_jwt: every SQL user can read this secret ----------------------------------

\set jwt_secret `printenv JWT_SECRET`
alter database postgres set "app.settings.jwt_secret" to :'jwt_secret';
\set jwt_exp `printenv JWT_EXP`
alter database postgres set "app.settings.jwt_exp" to :'jwt_exp';
{%- endif %}

commit;
