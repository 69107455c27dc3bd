-- As supabase_admin: what is built on extensions that Debian has not, as stand-ins of the same names.

create schema realtime authorization supabase_admin;
grant all on schema realtime to postgres;
create schema graphql;
create schema graphql_public;
create extension pg_graphql;
grant usage on schema graphql_public, graphql to postgres, anon, authenticated, service_role;
create function graphql_public.graphql("operationName" text default null, query text default null,
  variables jsonb default null, extensions jsonb default null) returns jsonb language sql
as $$ select graphql.resolve(query := query, variables := coalesce(variables, '{}'), "operationName" := "operationName",
  extensions := extensions) $$;
grant execute on function graphql_public.graphql to postgres, anon, authenticated, service_role;
create extension pgsodium;
create extension supabase_vault;
