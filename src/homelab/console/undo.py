"""What a page offers after an act: the way back. The page that an act leads to is told by `?did=` what was done."""

from dataclasses import dataclass

from homelab.control.access import allows
from homelab.control.api.routing import Asked


@dataclass(frozen=True, kw_only=True)
class Undo:
    """`said`: what was done. `path`: of the way back, below that of the page when it begins with a dot. `is_form`: it
    goes by a button; else the page behind it first says what will happen. Without a `button` there is no way back."""

    said: str
    button: str = ""
    path: str = ""
    role: str = "operate"
    is_form: bool = False


DID = {
    "paused": Undo(said="Paused.", button="Undo: resume it", path="./resume", is_form=True),
    "resumed": Undo(said="Resumed.", button="Undo: pause it", path="./pause", is_form=True),
    "started": Undo(said="Started.", button="Undo: cancel it", path="./cancel"),
    "retried": Undo(said="It runs again.", button="Undo: cancel it", path="./cancel"),
    "cancelled": Undo(said="Cancelled.", button="Undo: retry it", path="./retry"),
    "cancelled-ahead": Undo(said="Cancelled.", button="Undo: restore it", path="./restore", is_form=True),
    "restored": Undo(said="Restored: it starts at its instant.", button="Undo: cancel it", path="./cancel"),
    "drained": Undo(said="Drained.", button="Undo: undrain it", path="./undrain", is_form=True),
    "undrained": Undo(said="It takes work again.", button="Undo: drain it", path="./drain", is_form=True),
    "asked-to-wake": Undo(said="It was asked to wake. It is ready when its worker is heard."),
    "applied": Undo(said="Applied.", button="Undo this apply", path="/lab/undo", role="admin"),
    "undone": Undo(said="The apply is taken back.", button="Undo that", path="/lab/undo", role="admin"),
}


def offered(asked: Asked) -> dict[str, str | bool] | None:
    """What the page says of the act that led to it; None when none did, or when the role may not take it back."""
    did = DID.get(asked.request.query_params.get("did", ""))
    if did is None or not allows(asked.identity.scope, did.role):
        return None
    here = asked.request.url.path
    path = f"{here}{did.path[1:]}" if did.path.startswith(".") else did.path
    return {"said": did.said, "button": did.button, "path": path, "is_form": did.is_form}
