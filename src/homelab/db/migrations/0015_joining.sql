-- Nodes on other machines: how they come in, whose a token is, and which flow runs of Prefect are theirs.

-- What `homelab node token` gives out: good for one node, once.
create table join_token (
    hash      text primary key,                  -- SHA-256 of the secret
    name      text        not null,              -- for whom, unless the node gives itself another name
    by        text        not null,
    created   timestamptz not null default now(),
    expires   timestamptz not null,
    used      timestamptz,
    node_hash text                               -- hash of the token that the node which used it has: it may ask again
);

-- The node a token speaks for; null: people, programs, and whatever runs on control's own machine.
alter table token add column node text;
create unique index token_of_node on token (node) where node is not null and revoked is null;

alter table node add column offered jsonb not null default '{}';  -- a core.capacity.Capacity: what was said at joining
