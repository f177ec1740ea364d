-- What opens one feed (a calendar, a badge, the status) by its address alone, for programs that can send no header.
create table feed (
    id        bigint generated always as identity primary key,
    name      text        not null,
    feed      text        not null,             -- status, due, badge, badge/JOB: all it may read
    hash      text        not null unique,
    created   timestamptz not null default now(),
    last_used timestamptz,
    revoked   timestamptz
);
-- The digest that is told every week (or day): up to when it was told.
create table digest (
    id    int primary key default 1 check (id = 1),
    told  timestamptz not null
);
-- What was free on the disk of this home, once a day.
create table disk (
    day         date primary key,
    free_bytes  bigint not null,
    total_bytes bigint not null
);
