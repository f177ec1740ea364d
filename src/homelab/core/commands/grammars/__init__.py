"""Commands whose arguments follow a grammar of their own: tar, find, rsync, dd, ssh, docker, curl, the SQL clients ...

A grammar takes the words behind the command's name (and subcommand), the options of its row in the table that take a
value, and the text on its standard input where that is known. It notes effects and returns the words of a command that
it runs in turn, if it runs one. Rows name grammars by `!NAME`. Called by `core.commands.programs`.
"""

from collections.abc import Callable, Collection, Mapping, Sequence

from homelab.core.commands.arguments import Act
from homelab.core.commands.effects import Word
from homelab.core.commands.grammars import archives, containers, databases, files, media, services, transfers

Grammar = Callable[[Act, list[Word], Collection[str], str | None], Sequence[Word]]

GRAMMARS: Mapping[str, Grammar] = {
    "mkdir": files.mkdir,
    "make": files.make,
    "sed": files.sed,
    "dd": files.dd,
    "find": files.find,
    "xargs": files.xargs,
    "logrotate": files.logrotate,
    "tar": archives.tar,
    "rsync": transfers.rsync,
    "lftp": transfers.lftp,
    "curl": transfers.curl,
    "wget": transfers.wget,
    "ssh": transfers.ssh,
    "docker-run": containers.docker_run,
    "inside": containers.inside,
    "compose": containers.compose,
    "kubectl": containers.kubectl,
    "service": services.service,
    "nginx": services.nginx,
    "psql": databases.psql,
    "mysql": databases.mysql,
    "sqlite": databases.sqlite,
    "ffmpeg": media.ffmpeg,
    "lastout": media.lastout,
    "rrdtool": media.rrdtool,
}
