"""Commands that run another command: how many of their words to take off to find it. To teach another, add a row.

A row is `NAMES : OPTIONS N`: the options that take a value, and how many operands come before the command.
"""

from collections.abc import Mapping
from functools import lru_cache

_TABLE = """
sudo,doas : -u -g -h -p -C -D -R -T -U --user --group
nice : -n --adjustment
ionice : -c -n -p --class --classdata
timeout,gtimeout : -s -k --signal --kill-after 1
time : -f -o
nohup,setsid,command,exec,builtin,chronic,cronic,croncape,unbuffer,eatmydata,fakeroot,torsocks,torify,catchsegv :
proxychains,proxychains4,caffeinate,dbus-run-session,dbus-launch,busybox,cronwrap,cronwrapper,cron-wrapper,noti :
env : -u -C -S --unset --chdir
stdbuf : -i -o -e
systemd-run : -p -u --unit --property --uid --gid --slice --description --on-calendar -E --setenv --working-directory
systemd-cat : -t -p --identifier --priority
systemd-inhibit : --what --who --why --mode
chrt,taskset,cpulimit,numactl : -l -c -p -e 1
xvfb-run : -n -s -a -f --server-args --server-num
runuser,gosu,su-exec,setuidgid,setpriv : -u -g 1
chpst : -u -U -e -/ -C -n -l -L -m -d -o -p -f -c -t
softlimit : -a -c -d -f -l -m -o -p -r -s -t
watch : -n -d
script : -c
firejail,bwrap,unshare,nsenter : -p -t
run-one,run-this-one,run-one-constantly :
poetry run,uv run,pipenv run,pdm run,hatch run,rye run : -p --python --with -f --env-file
bundle exec,npx,bunx,direnv exec,dotenv,op run,doppler run : -p --python --with -f --env-file
conda run,mamba run,micromamba run : -n -p --name --prefix
cronitor exec,sentry-cli monitors run,hc-ping,runitor,healthchecks : -uuid -slug -ping-key 1
rvm-exec,chruby-exec,rbenv exec,pyenv exec,asdf exec,mise exec,nvm-exec :
faketime,ts,randomize,jitter : 1
"""


@lru_cache(maxsize=1)
def table() -> Mapping[str, tuple[frozenset[str], int]]:
    """By name: options that take a value, and operands to pass over."""
    found: dict[str, tuple[frozenset[str], int]] = {}
    for line in _TABLE.splitlines():
        names, _, items = line.partition(" :")
        words = items.split()
        count = int(words[-1]) if words and words[-1].isdigit() else 0
        for name in names.split(","):
            if name:
                found[name] = frozenset(word for word in words if word.startswith("-")), count
    return found
