-- Can be run again: what is there stays.
select 'create database app' where not exists (select from pg_database where datname = 'app') \gexec
\connect app
create table if not exists notes (id serial primary key, text text not null unique);
insert into notes (text) values ('the first note') on conflict do nothing;
