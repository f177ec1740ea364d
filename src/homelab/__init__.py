"""homelab: a person's few machines as one platform. `ARCHITECTURE.md` is the map."""

__version__ = "0.1.0"
