-- The image's event triggers: a NOTIFY on every change that the REST interface has to see, and access to pg_net.

create function extensions.pgrst_ddl_watch() returns event_trigger language plpgsql as $$
begin
  if exists (
    select from pg_event_trigger_ddl_commands()
    where command_tag in ('CREATE SCHEMA', 'ALTER SCHEMA', 'CREATE TABLE', 'CREATE TABLE AS', 'SELECT INTO', 'ALTER TABLE',
      'CREATE FOREIGN TABLE', 'ALTER FOREIGN TABLE', 'CREATE VIEW', 'ALTER VIEW', 'CREATE MATERIALIZED VIEW',
      'ALTER MATERIALIZED VIEW', 'CREATE FUNCTION', 'ALTER FUNCTION', 'CREATE TRIGGER', 'CREATE TYPE', 'ALTER TYPE',
      'CREATE RULE', 'COMMENT')
    and schema_name is distinct from 'pg_temp')
  then
    notify pgrst, 'reload schema';
  end if;
end $$;
create function extensions.pgrst_drop_watch() returns event_trigger language plpgsql as $$
begin
  if exists (
    select from pg_event_trigger_dropped_objects()
    where object_type in ('schema', 'table', 'foreign table', 'view', 'materialized view', 'function', 'trigger', 'type', 'rule')
    and not is_temporary)
  then
    notify pgrst, 'reload schema';
  end if;
end $$;
create event trigger pgrst_ddl_watch on ddl_command_end execute function extensions.pgrst_ddl_watch();
create event trigger pgrst_drop_watch on sql_drop execute function extensions.pgrst_drop_watch();

create function extensions.grant_pg_net_access() returns event_trigger language plpgsql as $$
declare
  sender regprocedure;
begin
  if not exists (select from pg_event_trigger_ddl_commands() c join pg_extension e on e.oid = c.objid where e.extname = 'pg_net') then
    return;
  end if;
  if not exists (select from pg_roles where rolname = 'supabase_functions_admin') then
    create user supabase_functions_admin noinherit createrole login noreplication;
  end if;
  grant usage on schema net to supabase_functions_admin, postgres, anon, authenticated, service_role;
  for sender in select oid from pg_proc where pronamespace = 'net'::regnamespace and proname in ('http_get', 'http_post') loop
    execute format('alter function %s security definer', sender);
    execute format('alter function %s set search_path = net', sender);
    execute format('revoke all on function %s from public', sender);
    execute format('grant execute on function %s to supabase_functions_admin, postgres, anon, authenticated, service_role', sender);
  end loop;
end $$;
create event trigger issue_pg_net_access on ddl_command_end when tag in ('CREATE EXTENSION')
  execute function extensions.grant_pg_net_access();
