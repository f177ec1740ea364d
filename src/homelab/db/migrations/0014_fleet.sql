-- Nodes and what is promised of them. Written by control.nodes and control.leases alone.

create table node (
    name      text primary key,
    roles     jsonb       not null default '[]',
    labels    jsonb       not null default '{}',
    address   text        not null default '',
    declared  jsonb       not null default '{}',  -- a core.capacity.Capacity: what the lab file says
    measured  jsonb,                              -- the same: what the node's sensors say; null: nothing yet
    used      jsonb       not null default '{}',  -- resource -> amount that programs outside the lab use
    models    jsonb       not null default '[]',
    wanted    text        not null default 'ready' check (wanted in ('ready', 'drained')),
    asleep    boolean     not null default false,
    epoch     bigint      not null default 1,     -- one more each time the node is given up: older promises are void
    skew_s    double precision,                   -- its clock less the database's; null: unknown
    version   text        not null default '',
    heartbeat timestamptz                         -- by the database's clock
);

create table lease (
    token     bigint generated always as identity primary key,  -- of two leases of one work the larger is the later
    work      text        not null,
    node      text        not null references node,
    epoch     bigint      not null,
    terms     jsonb       not null,               -- owner, amounts, device and the rest of core.placement.Lease
    taken     timestamptz not null default now(),
    expires   timestamptz not null,
    ended     timestamptz,
    how       text        not null default ''     -- done, expired, released, evicted
);
create unique index lease_of_work on lease (work) where ended is null;
create index lease_open on lease (node) where ended is null;
create index lease_work on lease (work, token desc);

-- Exclusive groups that are taken: the key is what makes two holders impossible.
create table lease_group (
    name  text primary key,
    lease bigint not null references lease on delete cascade
);
create index lease_group_lease on lease_group (lease);
