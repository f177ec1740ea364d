-- When control was last at work. The same moment is noted beside the database: when that note is much later, the
-- database was restored from a backup, and the instants in between have been decided already.
create table mark (
    id    int primary key default 1 check (id = 1),
    alive timestamptz not null
);
