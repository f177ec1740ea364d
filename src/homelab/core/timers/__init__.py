"""Other schedulers' files as jobs that cron could have: systemd timers, launchd's property lists, anacron's table.

Pure: texts in, jobs and problems out; what cron cannot say exactly is a problem and no job. Called by `cli`;
the files are found by `home.timers`.
"""

from homelab.core.timers.anacron import read_anacrontab
from homelab.core.timers.found import DISABLED, Found, Machine, Order, TimerJob
from homelab.core.timers.launchd import read_plist
from homelab.core.timers.systemd import read_units
from homelab.core.timers.units import UnitText, split_cat, units_of

__all__ = [
    "DISABLED",
    "Found",
    "Machine",
    "Order",
    "TimerJob",
    "UnitText",
    "read_anacrontab",
    "read_plist",
    "read_units",
    "split_cat",
    "units_of",
]
