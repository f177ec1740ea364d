-- What a node tells of itself beyond amounts, and what the lab file says of its sleep. Written by control.nodes alone.

alter table node
    add column sensed jsonb   not null default '{}',    -- labels, power, thermal, as its sensors say
    add column sleeps boolean not null default false,   -- the lab file: its silence is sleep
    add column wake   text    not null default '';      -- the lab file: the MAC address that wakes it
