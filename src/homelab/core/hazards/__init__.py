"""What cron hides about the jobs of a crontab, each with its line, the reason and a remedy. Pure.

Silence is preferred to noise: what may well be meant is not mentioned. The rules, and how often they are right on real
crontabs: docs/explanation/hazards.md. Entry point: `examine`; called by `cli`.
"""

from homelab.core.hazards.examining import CODES, examine
from homelab.core.hazards.found import Facts, FileState, Hazard, Subject, facts_of

__all__ = ["CODES", "Facts", "FileState", "Hazard", "Subject", "examine", "facts_of"]
