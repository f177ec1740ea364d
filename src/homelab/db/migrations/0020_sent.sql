-- Attempts that run on another node than their run does: given to it with their lease, told of by it, asked for by the
-- node that has the run. Kept until the lease is forgotten.
create table sent (
    token   bigint      primary key references lease (token) on delete cascade,
    work    text        not null,                           -- RUN/JOB/ATTEMPT
    run     text        not null,
    job     text        not null,
    attempt int         not null,
    node    text        not null,
    task    jsonb       not null,                           -- control.sent.Task: all that the node needs to know
    created timestamptz not null default now(),
    started timestamptz,
    pid     int,
    stop    text        not null default '',                -- why it is to end; the node is told until it says that it has
    ended   timestamptz,
    outcome jsonb                                           -- how it ended, as its node tells; null: it never began
);
create index sent_of_run on sent (run);
create index sent_to on sent (node);
