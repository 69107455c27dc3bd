-- From here on `postgres` is no superuser (stack-facts 4.2); what it owned as one goes to supabase_admin's hands
-- through membership, as in the image.

grant anon, authenticated, service_role, supabase_auth_admin, supabase_storage_admin, pg_monitor to postgres;
grant all on all tables in schema auth to postgres, dashboard_user;
alter role postgres nosuperuser createdb createrole replication bypassrls;
