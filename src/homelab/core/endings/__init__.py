"""How an attempt ended, in a sentence made of facts. Pure; never a cause that is not proven.

    explain(ending, circumstances, before)   -> Explanation: sentence, facts, action
    telling(tail)                            -> the line of an output that tells most
    EXITS                                    -> what exit statuses mean, with their sources
    Circumstances.from_json(report["facts"]) -> what the worker saw when the attempt began and ended

Called by `notify.rules` for alerts, by `control` for what people look at; the worker reads output with
`missing_command` and `refused_command`. `docs/reference/exit-statuses.md` is made from the table.
"""

from homelab.core.endings.circumstances import Circumstances, Disk, Missing, ScriptState
from homelab.core.endings.exits import EXITS, Meaning, meaning_for
from homelab.core.endings.explaining import Ending, Explanation, changed_variables, explain, sentence
from homelab.core.endings.printed import missing_command, refused_command, telling

__all__ = [
    "EXITS",
    "Circumstances",
    "Disk",
    "Ending",
    "Explanation",
    "Meaning",
    "Missing",
    "ScriptState",
    "changed_variables",
    "explain",
    "meaning_for",
    "missing_command",
    "refused_command",
    "sentence",
    "telling",
]
