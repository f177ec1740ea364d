"""The lab file: what the lab should be. `parse` reads it, or says everything that is wrong with it."""

from homelab.core.labfile.model import EVENTS, Lab, Node, NotifySettings, ServiceSettings, WorkerSettings
from homelab.core.labfile.parse import parse
from homelab.core.labfile.problems import Problem

__all__ = ["EVENTS", "Lab", "Node", "NotifySettings", "Problem", "ServiceSettings", "WorkerSettings", "parse"]
