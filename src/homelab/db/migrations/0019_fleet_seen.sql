-- Who drained a node and when; what a timeline and the counts of a day ask of leases that have ended.
alter table node add column wanted_by text not null default '';
alter table node add column wanted_since timestamptz;
create index lease_ended on lease (ended desc) where ended is not null;
