-- What pages ask of a long history is answered from an index: the newest rows of all jobs or of one, those in one
-- state, and the counts of each day without reading the rows.
create index run_flow_at on run (flow, (coalesce(started, due, created)) desc);
create index run_bare on run ((coalesce(started, due, created)) desc)
    where state <> 'succeeded';
create index job_run_state on job_run (state, recorded desc);
create index job_run_day on job_run (recorded) include (job, state) where retry_at is null;
create index job_run_results on job_run (job, recorded desc) where retry_at is null and state <> 'running';
create index job_run_good on job_run (job, recorded desc) where state = 'succeeded';
