-- What jobs pass on: variables, and files by the SHA-256 of what is in them. Written by control.reports (outputs,
-- artefact) and control.artefacts (object, artefact).
alter table job_run add column outputs jsonb;

create table artefact (
    run     text        not null,
    job     text        not null,
    attempt int         not null,
    path    text        not null,               -- below the job's working folder
    sha256  text        not null,
    bytes   bigint      not null,
    node    text,                               -- where it was made
    saved   timestamptz not null default now(),
    primary key (run, job, attempt, path)
);
create index artefact_sha256 on artefact (sha256);
create index artefact_saved on artefact (saved);
create index artefact_job on artefact (job, saved desc);

-- What the store holds. It comes before the artefact that names it, or after: the two travel on different ways.
create table object (
    sha256  text primary key,
    bytes   bigint      not null,
    stored  timestamptz not null default now()
);
