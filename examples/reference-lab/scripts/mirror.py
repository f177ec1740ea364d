"""mirror.py FROM TO: make TO (below the work folder) equal to FROM (a folder of the samples); say what changed."""

import filecmp
import shutil
import sys

from lab import samples, work

source, target = samples() / sys.argv[1], work(sys.argv[2])
target.mkdir(parents=True, exist_ok=True)
copied = removed = 0
wanted = {path.relative_to(source) for path in source.rglob("*") if path.is_file()}
for name in sorted(wanted):
    old = target / name
    if not old.exists() or not filecmp.cmp(source / name, old, shallow=False):
        old.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source / name, old)
        copied += 1
for path in [p for p in target.rglob("*") if p.is_file() and p.relative_to(target) not in wanted]:
    path.unlink()
    removed += 1
print(f"{sys.argv[1]} -> {sys.argv[2]}: {len(wanted)} files, {copied} copied, {removed} removed")
