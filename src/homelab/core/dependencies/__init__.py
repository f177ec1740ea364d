"""Which jobs of a crontab need which, and which exclude each other, proposed with the text it rests on. Pure.

`suggest(jobs, descriptions)` takes the jobs of one crontab (`core.crontab`) and what each does (`core.commands`). A
suggestion is never applied by itself: a person accepts it. What counts as evidence, how strong it is, and what is never
taken for an order: docs/explanation/dependencies.md. Called by `cli.cronread`.
"""

from homelab.core.dependencies.links import Confidence
from homelab.core.dependencies.suggestions import Evidence, Suggestion, suggest

__all__ = ["Confidence", "Evidence", "Suggestion", "suggest"]
