"""When a cron expression is due, exactly as cronie decides it: parse an expression, list its instants.

Pure: the time comes in as an argument, the zone data is the only thing consulted. It never reads a clock, never rounds
a schedule, and never hangs: an expression that can never be due yields nothing. The crontab reader uses `scan`; the lab
file, `control` and the command line use `parse`.

Rules and where they come from:

* fields, names, steps, `~`, and what is refused: cronie 1.7.2, crontab(5) and its parser's behaviour;
* the day rule: both day fields restricted means either may match; as soon as one begins with `*`, both must;
* clock changes: a schedule whose minute or hour field begins with `*` follows the wall clock; any other is a fixed
  time: skipped by a jump of up to three hours it is due right after the jump, and it is not due again when the clock
  is set back. Fixed times that one jump skips together are one instant here (cron starts them seconds apart).
"""

from homelab.core.schedule.expression import parse, scan
from homelab.core.schedule.instants import Schedule, ScheduleError, check_zone, interval_s
from homelab.core.schedule.words import describe

__all__ = ["Schedule", "ScheduleError", "check_zone", "describe", "interval_s", "parse", "scan"]
