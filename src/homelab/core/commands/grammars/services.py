"""Services that read their configuration again. See `core.commands.grammars`."""

import re
from collections.abc import Collection, Sequence

from homelab.core.commands.arguments import Act, split
from homelab.core.commands.effects import Word

_VERBS = frozenset({"reload", "restart", "start", "try-restart", "reload-or-restart", "graceful", "kickstart", "HUP"})
_WITH_CERTIFICATES = frozenset(
    {"nginx", "apache2", "httpd", "haproxy", "postfix", "dovecot", "caddy", "lighttpd", "traefik", "exim4"}
    | {"prosody", "ejabberd", "coturn", "murmur", "vsftpd", "openvpn", "znc", "webmin"}
)


def service(act: Act, words: list[Word], options: Collection[str], stdin: str | None) -> Sequence[Word]:
    """`systemctl reload UNIT`, `service UNIT restart`: the unit reads its configuration again."""
    operands = [word.value for word in split(words, options).operands]
    if not any(verb in _VERBS for verb in operands):
        return ()
    for name in operands:
        if re.match(r"^[a-z][\w@.-]+$", name) and name not in _VERBS:
            _reloaded(act, name.removesuffix(".service").partition("@")[0])
    return ()


def _reloaded(act: Act, name: str) -> None:
    folder = {"named": "bind", "bind9": "bind", "httpd": "httpd", "smbd": "samba"}.get(name, name)
    for path in (f"/etc/{folder}", f"/etc/{folder}.d", f"/var/lib/{folder}"):
        act.effect("read", path, is_tree=True)
    act.effect("read", f"/etc/{folder}.conf")
    if name in _WITH_CERTIFICATES:
        act.effect("read", "/etc/letsencrypt/live", is_tree=True)


def nginx(act: Act, words: list[Word], options: Collection[str], stdin: str | None) -> Sequence[Word]:
    if any(word.value == "reload" for word in words):
        _reloaded(act, "nginx")
    return ()
