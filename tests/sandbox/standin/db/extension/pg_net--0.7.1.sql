-- The calls of pg_net; requests are queued and never sent.
create schema net;
create table net.http_request_queue (
  id bigserial primary key, method text not null, url text not null, headers jsonb, body bytea, timeout_milliseconds int);
create function net.http_get(url text, params jsonb default '{}', headers jsonb default '{}', timeout_milliseconds int default 2000)
returns bigint language sql
as $$ insert into net.http_request_queue (method, url, headers, timeout_milliseconds)
  values ('GET', url, headers, timeout_milliseconds) returning id $$;
create function net.http_post(url text, body jsonb default '{}', params jsonb default '{}',
  headers jsonb default '{"Content-Type": "application/json"}', timeout_milliseconds int default 2000)
returns bigint language sql
as $$ insert into net.http_request_queue (method, url, headers, body, timeout_milliseconds)
  values ('POST', url, headers, convert_to(body::text, 'utf8'), timeout_milliseconds) returning id $$;
