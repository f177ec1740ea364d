-- People with a role, the passkeys they sign in with, and how each session was opened.
create table person (
    id      bigint generated always as identity primary key,
    name    text        not null,
    role    text        not null check (role in ('read', 'operate', 'admin')),
    created timestamptz not null default now(),
    removed timestamptz                          -- kept for the audit; nothing of theirs is valid any more
);
create unique index person_name on person (name) where removed is null;
insert into person (name, role) values ('owner', 'admin');

create table passkey (
    id         text primary key,                 -- the credential's id, base64url
    person     bigint      not null references person,
    name       text        not null,
    host       text        not null,             -- the name it is for (WebAuthn: RP ID)
    public_key bytea       not null,
    counter    bigint      not null,             -- as last seen; one that goes back is of a copy
    created    timestamptz not null default now(),
    last_used  timestamptz,
    stopped    text        not null default ''   -- why it is not taken any more
);

alter table sign_in add column person bigint references person;
alter table session add column person bigint references person;  -- null: a guest
alter table session add column via text not null default 'link';
alter table session add column last_used timestamptz;

-- How they were known, and what came of it: 'done', or the code of the refusal.
alter table audit add column via text not null default '';
alter table audit add column result text not null default 'done';

-- Forms that were sent, so that one sent again does nothing, over a restart too. `result`: where it led; null while at it.
create table form_sent (
    key    text primary key,
    result text,
    time   timestamptz not null default now()
);

-- The lab files as they were applied, so that an apply can be taken back. `is_takeover`: jobs came from cron with it,
-- and what was in the crontab changed too.
create table lab_version (
    id          bigint generated always as identity primary key,
    applied     timestamptz not null default now(),
    by          text        not null,
    path        text        not null,
    folder      text        not null default '',
    files       jsonb       not null,
    digest      text        not null,
    is_takeover boolean     not null default false
);
insert into lab_version (applied, by, path, folder, files, digest)
    select applied, 'control', path, folder, files, digest from lab;
