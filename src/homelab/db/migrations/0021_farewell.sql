-- A node whose worker was stopped on purpose. Written by control.nodes alone.

alter table node
    add column farewell text not null default '';       -- the worker (pid, start) that said so; '' while one is at work
