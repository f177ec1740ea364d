-- The ledger says what remains to be done about an instant, not only what was done: see control/ledger.py.
alter table instant drop constraint instant_decision_check;
alter table instant add constraint instant_decision_check check (decision in
    ('wanted', 'late', 'blocked', 'recalled', 'created', 'missed', 'skipped', 'superseded'));
alter table instant add column trigger text not null default 'schedule';
alter table instant add column jobs jsonb;      -- names of the jobs that take part; null: all of the flow
create index instant_open on instant (due) where decision in ('wanted', 'late', 'blocked', 'recalled');
-- How often the scheduler has entered something: a database that counts less than the note beside it was restored.
alter table mark add column sequence bigint not null default 0;
