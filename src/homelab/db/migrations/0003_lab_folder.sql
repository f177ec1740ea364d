-- Where the lab file lies: relative working folders of jobs are below it.
alter table lab add column folder text not null default '';
