"""Crontabs with known truth: hand-written cases, and how many of the suggestions for them are right.

`python -m tests.corpus` prints precision and recall; `-v` names every mistake. `cases/` were looked at while the rules
were made; `held_out/` were written before any rule was tried, and only measured until the others were done; `later/`
were written and measured when the rules seemed done, and looked into after that. The first figures of each are in
docs/explanation/dependencies.md.

A case is one text: a description, then sections. `--- crontab` (or `--- crontab system`) is the file; `# [NAME]` above
a line names its job (or `--- names` lists the names in order). `--- /PATH` is a script. `--- truth` holds
`a -> b` (b needs a), `lock a b ...`, and `? a -> b` for what reasonable owners would see differently: it counts neither
way. Every other pair is unrelated.
"""
