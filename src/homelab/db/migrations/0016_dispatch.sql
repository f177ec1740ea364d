-- Where a run is to run, decided before it is claimed; from then on `node` is the only one that speaks for it.
alter table run add column assigned timestamptz;             -- null: `node` is where it was at work last, or nothing
alter table run add column lost_by text;                     -- the node it was taken from when that had fallen silent
alter table run add column restart text not null default '' check (restart in ('', 'wanted'));
                                                             -- wanted: Prefect is to be told that it goes on elsewhere
alter table run add column round jsonb not null default '{}';  -- control.lost.Round: since when its retries count
create index run_restart on run (id) where restart = 'wanted';
create index run_of_node on run (node) where state in ('scheduled', 'pending', 'running');

-- The same for flow runs that are not the lab's own (another's deployment, or made by a Python flow of a node): Prefect has
-- all the rest of them.
create table foreign_run (
    id       text primary key,
    node     text        not null,
    assigned timestamptz not null default now(),
    is_lost  boolean     not null default false           -- its node fell silent, and Prefect knows
);
