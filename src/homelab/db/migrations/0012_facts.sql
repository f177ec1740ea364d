-- What the worker saw when an attempt began and ended (core.endings.Circumstances). What stays the same from run to run,
-- scripts, variables, programs, is kept once: `setting` is its digest.
create table setting (
    digest  text primary key,
    body    jsonb       not null,
    created timestamptz not null default now()
);
alter table job_run add column setting text;
alter table job_run add column facts jsonb;
