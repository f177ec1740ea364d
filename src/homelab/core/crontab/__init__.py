"""Read a crontab the way cronie reads it: jobs, and problems with their lines. Pure; nothing in the text is run.

Called by `cli.cron`. What is read and where the daemons differ: docs/reference/crontab.md.
"""

from homelab.core.crontab.lines import split_command
from homelab.core.crontab.problems import CronProblem
from homelab.core.crontab.reader import DEFAULT_PATH, CronJob, ParsedCrontab, parse

__all__ = ["DEFAULT_PATH", "CronJob", "CronProblem", "ParsedCrontab", "parse", "split_command"]
