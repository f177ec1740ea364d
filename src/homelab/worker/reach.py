"""How this home's worker reaches control and Prefect: on control's own machine each at its address, in a node's home
both at the one port of control for nodes, with the lab's authority and the node's token.

Called when the worker starts and, for the address of control, after each failure: on this machine it may have moved.
"""

import ssl
from collections.abc import Mapping
from dataclasses import dataclass

from homelab.flows.api import PrefectApi
from homelab.home import endpoints, membership
from homelab.home.membership import Membership
from homelab.home.paths import Home
from homelab.home.secrets import prefect_auth

UNKNOWN = "the control plane there is not the one that this node joined"


@dataclass(frozen=True, kw_only=True)
class Reach:
    """`token`: what control knows this home by. `prefect_auth`: `user:password` for Prefect. `trust`: TLS of the lab's
    authority, None on control's own machine, where nothing leaves it."""

    home: Home
    member: Membership | None
    token: str
    trust: ssl.SSLContext | None

    @property
    def control(self) -> str | None:
        """The address of control; None while it has none yet."""
        return endpoints.read(self.home).get("control") if self.member is None else self.member.url

    @property
    def prefect_auth(self) -> str:
        return prefect_auth(self.home) if self.member is None else f"{self.member.name}:{self.token}"

    @property
    def prefect(self) -> str:
        """The address of Prefect's API. NotFoundError when no lab is running here."""
        if self.member is None:
            return endpoints.require(self.home, "prefect")
        return f"{self.member.url}/prefect/api"

    def prefect_api(self) -> PrefectApi:
        return PrefectApi(self.prefect, self.prefect_auth, trust=self.trust)

    def environment(self) -> Mapping[str, str]:
        """The variables by which a Python flow's own Prefect client finds the server."""
        found = {
            "PREFECT_API_URL": self.prefect,
            "PREFECT_API_AUTH_STRING": self.prefect_auth,
            "PREFECT_HOME": str(self.home.root / "prefect"),
        }
        if self.member is not None:
            found["PREFECT_API_SSL_CERT_FILE"] = str(membership.authority_of(self.home))
        return found


def of_home(home: Home) -> Reach:
    """The reach of this home. InputError when what it knows of its lab cannot be read."""
    member = membership.read(home)
    trust = None if member is None else membership.trust(home)
    return Reach(home=home, member=member, token=membership.token(home), trust=trust)


def trouble(error: BaseException) -> str:
    """What to say of a connection that failed."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"{UNKNOWN}: {cause.verify_message}. Take it out with: homelab node leave, and join it again"
        cause = cause.__cause__ or cause.__context__
    return f"{type(error).__name__}: {error}"
