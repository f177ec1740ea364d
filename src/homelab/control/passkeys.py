"""Passkeys (WebAuthn): the questions a browser is asked, and what its answers prove. The one door to `webauthn`.

A question (challenge) is good for one answer within two minutes, for what it was asked for, from the host and by the
session it was asked of. Whose key it is and what it opens is `control.people`'s and `control.access`'s.
"""

import json
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any, Literal

from homelab.control.people import Passkey
from homelab.core.errors import InputError, RefusedError

LIVES_S = 120.0
_MOST = 500
NAME = "homelab"

Purpose = Literal["register", "sign-in"]


def host_for_passkeys(host: str) -> str:
    """The name that passkeys made at this host are for. RefusedError for an address: WebAuthn has none for those."""
    try:
        ip_address(host)
    except ValueError:
        return host
    raise RefusedError(
        "passkeys belong to a name, and this page was opened by an address",
        hint="Open the lab by a name, such as localhost.",
    )


@dataclass(frozen=True, kw_only=True)
class Asked:
    """One open question."""

    purpose: Purpose
    host: str
    owner: str
    until: float


@dataclass
class Challenges:
    """The open questions of one server. In memory: after a restart a browser asks again."""

    _open: dict[bytes, Asked] = field(default_factory=dict[bytes, Asked])

    def new(self, purpose: Purpose, *, host: str, owner: str = "") -> bytes:
        """A fresh question. `owner`: the session that must answer it."""
        now = time.monotonic()
        for old in [c for c, asked in self._open.items() if asked.until < now]:
            del self._open[old]
        while len(self._open) >= _MOST:
            del self._open[next(iter(self._open))]
        challenge = secrets.token_bytes(32)
        self._open[challenge] = Asked(purpose=purpose, host=host, owner=owner, until=now + LIVES_S)
        return challenge

    def take(self, challenge: bytes, purpose: Purpose, *, host: str, owner: str = "") -> bool:
        """Use the question up. False when it is none of ours, or not for this."""
        asked = self._open.pop(challenge, None)
        return asked is not None and (asked.purpose, asked.host, asked.owner, asked.until >= time.monotonic()) == (
            purpose, host, owner, True,
        )  # fmt: skip


def registration(*, host: str, person: str, person_id: int, challenge: bytes, have: Sequence[str]) -> dict[str, Any]:
    """What `navigator.credentials.create` is given. `have`: ids of passkeys that need not be made again."""
    from webauthn import generate_registration_options, options_to_json
    from webauthn.helpers import base64url_to_bytes
    from webauthn.helpers.structs import (
        AuthenticatorSelectionCriteria,
        PublicKeyCredentialDescriptor,
        ResidentKeyRequirement,
        UserVerificationRequirement,
    )

    options = generate_registration_options(
        rp_id=host,
        rp_name=NAME,
        user_name=person,
        user_id=f"homelab-person-{person_id}".encode(),
        challenge=challenge,
        authenticator_selection=AuthenticatorSelectionCriteria(
            resident_key=ResidentKeyRequirement.REQUIRED,
            user_verification=UserVerificationRequirement.REQUIRED,
        ),
        exclude_credentials=[PublicKeyCredentialDescriptor(id=base64url_to_bytes(known)) for known in have],
    )
    return json.loads(options_to_json(options))


def authentication(*, host: str, challenge: bytes) -> dict[str, Any]:
    """What `navigator.credentials.get` is given. It names no passkey: the person chooses one of theirs."""
    from webauthn import generate_authentication_options, options_to_json
    from webauthn.helpers.structs import UserVerificationRequirement

    options = generate_authentication_options(
        rp_id=host, challenge=challenge, user_verification=UserVerificationRequirement.REQUIRED
    )
    return json.loads(options_to_json(options))


def challenge_of(credential: Mapping[str, Any]) -> bytes:
    """The question that a browser's answer says it answers. InputError when it is no such answer."""
    from webauthn.helpers import base64url_to_bytes

    try:
        data = json.loads(base64url_to_bytes(credential["response"]["clientDataJSON"]))
        return base64url_to_bytes(data["challenge"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError("that is not the answer of a passkey") from error


def registered(
    credential: Mapping[str, Any], *, challenge: bytes, host: str, origin: str, person: int, name: str
) -> Passkey:
    """The new passkey that the answer proves. RefusedError when it proves none."""
    from webauthn import verify_registration_response
    from webauthn.helpers import bytes_to_base64url
    from webauthn.helpers.exceptions import WebAuthnException

    try:
        proved = verify_registration_response(
            credential=dict(credential),
            expected_challenge=challenge,
            expected_rp_id=host,
            expected_origin=origin,
            require_user_verification=True,
        )
    except (WebAuthnException, ValueError, KeyError, TypeError) as error:
        raise RefusedError(f"the passkey was not accepted: {str(error)[:200]}") from error
    return Passkey(
        id=bytes_to_base64url(proved.credential_id),
        person=person,
        name=name,
        host=host,
        public_key=proved.credential_public_key,
        counter=proved.sign_count,
    )


def proved(credential: Mapping[str, Any], key: Passkey, *, challenge: bytes, host: str, origin: str) -> int:
    """The passkey's counter after this use. RefusedError when the answer proves nothing, `CopiedError` when the counter
    has not gone on."""
    from webauthn import verify_authentication_response
    from webauthn.helpers.exceptions import WebAuthnException

    try:
        found = verify_authentication_response(
            credential=dict(credential),
            expected_challenge=challenge,
            expected_rp_id=host,
            expected_origin=origin,
            credential_public_key=key.public_key,
            credential_current_sign_count=0,  # judged below, once the signature is proved
            require_user_verification=True,
        )
    except (WebAuthnException, ValueError, KeyError, TypeError) as error:
        raise RefusedError("this passkey does not sign in here") from error
    if is_copied(key.counter, found.new_sign_count):
        raise CopiedError("this passkey has been copied, and is not taken any more", hint="Sign in with: homelab open")
    return found.new_sign_count


class CopiedError(RefusedError):
    """Two devices hold the same passkey."""


def is_copied(before: int, now: int) -> bool:
    """Whether a counter says so. Authenticators that do not count always say 0 (WebAuthn level 3, 6.1.1)."""
    return now <= before and (now, before) != (0, 0)
