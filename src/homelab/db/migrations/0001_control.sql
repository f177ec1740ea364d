-- What control knows. Run states are Prefect's; these tables are the ledger of instants, the copy of what attempts did
-- (the worker's journal owns that), and what people, notifications and tokens need.

create table lab (
    id        int primary key default 1 check (id = 1),
    name      text        not null,
    path      text        not null,
    files     jsonb       not null,             -- {path: text} of the lab file and its includes as applied
    digest    text        not null,
    applied   timestamptz not null default now()
);

create table definition (
    digest    text primary key,
    body      text        not null,             -- core.jobs.Flow as JSON; immutable
    created   timestamptz not null default now()
);

create table flow (
    name       text primary key,
    digest     text        not null references definition,
    deployment text        not null,            -- id of the Prefect deployment
    schedule   text,
    timezone   text        not null,
    position   int         not null,            -- order in the lab file
    applied    timestamptz not null default now(),
    since      timestamptz not null default now()  -- instants before this are none of ours
);

-- Only what a person decided about a job outside the lab file.
create table job_switch (
    job    text primary key,
    paused boolean     not null,
    by     text        not null,
    time   timestamptz not null default now()
);

-- The ledger: one decision for each due instant of a flow, made once.
create table instant (
    flow     text        not null,
    due      timestamptz not null,
    decision text        not null check (decision in ('created', 'missed', 'skipped', 'blocked', 'superseded')),
    run      text,                              -- id of the flow run, when one was created
    reason   text        not null default '',
    decided  timestamptz not null default now(),
    primary key (flow, due)
);
create index instant_run on instant (run);

create table run (
    id        text primary key,                 -- id of the Prefect flow run
    flow      text        not null,
    due       timestamptz,
    digest    text        not null,
    trigger   text        not null check (trigger in ('schedule', 'manual', 'catch-up', 'release')),
    params    jsonb       not null default '{}',
    jobs      jsonb,                            -- null: all of the flow; else the names that take part
    by        text        not null default 'control',
    state     text        not null default 'scheduled',
    created   timestamptz not null default now(),
    started   timestamptz,
    ended     timestamptz,
    node      text,
    worker    text,
    reason    text        not null default ''
);
create index run_open on run (state) where state in ('scheduled', 'pending', 'running', 'retrying');
create index run_flow on run (flow, created desc);
create index run_created on run (created desc);

create table job_run (
    run          text        not null,
    job          text        not null,
    attempt      int         not null,
    flow         text        not null,
    due          timestamptz,
    state        text        not null,
    started      timestamptz,
    ended        timestamptz,
    exit_code    int,
    signal       int,
    reason       text        not null default '',
    output_bytes bigint,
    output_lines bigint,
    tail         jsonb       not null default '[]',
    retry_at     timestamptz,
    node         text,
    worker       text,
    recorded     timestamptz not null default now(),
    primary key (run, job, attempt)
);
create index job_run_job on job_run (job, recorded desc);
create index job_run_recorded on job_run (recorded desc);

-- Reports already taken, so that one delivered twice counts once.
create table report (
    id       text primary key,
    received timestamptz not null default now()
);

-- The stream that pages and terminals follow; `id` is Last-Event-ID.
create table event (
    id      bigint generated always as identity primary key,
    time    timestamptz not null default now(),
    kind    text        not null,
    subject text        not null,
    body    jsonb       not null default '{}'
);

create table worker (
    name      text primary key,
    node      text        not null,
    pid       int         not null,
    started   timestamptz not null,             -- of the process; with pid, its identity
    last_seen timestamptz not null default now(),
    slots     int         not null,
    running   jsonb       not null default '[]'
);

-- Conditions that hold now and were told (late, stuck, silent, slow, failing ...), so that each is told once.
create table watch (
    job    text        not null,
    kind   text        not null,
    since  timestamptz not null default now(),
    run    text,
    body   jsonb       not null default '{}',
    primary key (job, kind)
);

create table notification (
    id           bigint generated always as identity primary key,
    created      timestamptz not null default now(),
    kind         text        not null,
    job          text,
    run          text,
    title        text        not null,
    body         text        not null,
    target       text        not null,          -- a reference to an apprise URL (never the URL with its secret)
    dedupe_key   text        not null,
    state        text        not null default 'queued' check (state in ('queued', 'sent', 'failed', 'suppressed')),
    attempts     int         not null default 0,
    next_attempt timestamptz not null default now(),
    last_error   text        not null default '',
    sent         timestamptz
);
create index notification_queue on notification (next_attempt) where state = 'queued';

create table token (
    id        bigint generated always as identity primary key,
    name      text        not null,
    scope     text        not null check (scope in ('read', 'operate', 'admin', 'node')),
    hash      text        not null unique,
    created   timestamptz not null default now(),
    expires   timestamptz,
    last_used timestamptz,
    revoked   timestamptz
);

-- One-time sign-in links and the browser sessions they open.
create table sign_in (
    hash    text primary key,
    scope   text        not null,
    expires timestamptz not null,
    used    timestamptz
);
create table session (
    hash    text primary key,
    scope   text        not null,
    created timestamptz not null default now(),
    expires timestamptz not null,
    origin  text        not null default ''
);

create table audit (
    id      bigint generated always as identity primary key,
    time    timestamptz not null default now(),
    who     text        not null,
    origin  text        not null,               -- cli, console, api address
    action  text        not null,
    subject text        not null,
    body    jsonb       not null default '{}'
);
