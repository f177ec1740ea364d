"""What the hazard rules know about programs by their names. Called by the rules of `core.hazards`."""

import re

QUIET = frozenset(
    {
        "cd",
        "pushd",
        "popd",
        "echo",
        "printf",
        "export",
        "source",
        ".",
        "sleep",
        "date",
        "set",
        "umask",
        "ulimit",
        "test",
    }
    | {"[", "[[", "true", ":", "unset", "mkdir", "touch", "rm", "exit", "return", "kill", "pkill", "killall", "eval"}
    | {
        "logger",
        "wait",
        "shift",
        "local",
        "trap",
        "read",
        "false",
        "let",
        "exec",
        "shopt",
        "alias",
        "ls",
        "cat",
        "chmod",
    }
    | {"chown", "who", "uptime", "hostname", "whoami", "clear", "tput", "stty", "type", "command", "which", "sync"}
    | {"env", "pwd", "id", "uname", "df", "free", "ps", "ntpdate", "declare", "renice", "pgrep", "umount", "mount"}
)
"""Steps whose failure matters little to whether a job did its work."""

PROBES = frozenset(
    {"test", "[", "[[", "command", "which", "type", "pgrep", "grep", "egrep", "ping", "nc", "pidof", "ps"}
)
"""Programs that are asked a question: their output is not wanted."""

FILTERS = frozenset(
    {"gzip", "bzip2", "xz", "zstd", "pigz", "lz4", "lzop", "tee", "logger", "ts", "cat", "mail", "mailx", "mutt", "awk"}
    | {"sed", "tr", "sort", "uniq", "head", "tail", "openssl", "gpg", "gpg2", "age", "sendmail", "split", "pv", "xargs"}
    | {"gawk", "wc", "cut", "uuencode", "msmtp", "multilog", "rotatelogs", "cronolog", "systemd-cat", "7z", "base64"}
    | {"iconv", "column", "jq"}
)
"""Programs that succeed whatever comes in: behind a pipe they hide that the first one failed."""

PRODUCERS = re.compile(
    r"^(mysqldump|mariadb-dump|pg_dump(all)?|pg_basebackup|mongodump|sqlite3|redis-cli|dump|xfsdump|tar|bsdtar|cpio|dd|"
    r"zfs|btrfs|rsync|rclone|scp|ssh|curl|wget|aws|gsutil|docker|kubectl|mysql|psql|svnadmin|slapcat|ldapsearch|"
    r"pg_dump_all|restic|borg|duplicity|influxd?|etcdctl|backup\S*)$"
)
"""Programs whose output is the work of the job: half of it, or none, is a loss."""

HEAVY = re.compile(
    r"^(rsync|rclone|restic|borg|borgmatic|duplicity|duplicati-cli|rdiff-backup|rsnapshot|tar|mysqldump|mariadb-dump|"
    r"pg_dump(all)?|mongodump|unison|lftp|offlineimap|mbsync|isync|fetchmail|getmail|imapsync|updatedb|ffmpeg|"
    r"HandBrakeCLI|convert|zfs|syncoid|csync2|osync|davsync|vdirsyncer|gsutil|s3cmd|mc|youtube-dl|yt-dlp|puppet|"
    r"chef-client|ansible-playbook|ansible-pull|webalizer|awstats.*|sa-learn|freshclam|clamscan|find2perl|fsck)$"
)
"""Programs that take as long as there is work: two at a time do it twice, or into each other's files."""

SYSTEM_FOLDER_TOOLS = frozenset(
    {"iptables", "ip6tables", "iptables-save", "ifconfig", "route", "reboot", "shutdown", "poweroff", "halt", "service"}
    | {"ntpdate", "hwclock", "modprobe", "sysctl", "fsck", "zpool", "zfs", "mdadm", "smartctl", "hdparm", "logrotate"}
    | {"sendmail", "postfix", "nginx", "apachectl", "apache2ctl", "rndc", "tune2fs", "fstrim", "swapoff", "swapon"}
    | {"tcpdump", "ethtool", "iwconfig", "blkid", "dmidecode", "lvcreate", "lvremove", "ipset", "ufw", "update-grub"}
    | {"chkrootkit", "rkhunter", "tmpwatch", "useradd", "usermod", "ip", "ss", "iw", "losetup", "e2fsck", "xfs_repair"}
) - {"ip", "ss"}
"""Programs that Debian, Ubuntu and their kin keep in /usr/sbin or /sbin, which cron's own PATH leaves out."""

_VERBOSE = re.compile(r"^-[a-uw-zA-Z]*v[a-zA-Z]*$|^--(verbose|progress|stats)$")
_SILENT = re.compile(r"^-[a-zA-Z]*q[a-zA-Z]*$|^--(quiet|silent|no-verbose|non-verbose)$|^-nv$")


def chatty_stream(name: str, arguments: list[str]) -> int:
    """Where a program prints each time it works as it should: 1 out, 2 errors, 0 nowhere."""
    is_silent = any(_SILENT.match(word) for word in arguments)
    if name == "wget":
        return 0 if is_silent else 2
    if name == "curl":
        if not any(re.match(r"^-[a-zA-Z]*s[a-zA-Z]*$|^--silent$", word) for word in arguments):
            return 2  # its meter
        return 0 if any(re.match(r"^-[a-zA-Z]*[oO]$|^--output$|^--remote-name$", word) for word in arguments) else 1
    if name in ("rsync", "tar", "rm", "cp", "mv", "unison", "rclone", "chown", "chmod"):
        return 1 if any(_VERBOSE.match(word) for word in arguments) else 0
    if name == "git":
        return 1 if "pull" in arguments[:3] and not is_silent else 0
    if name == "artisan" or (name.startswith("php") and any(word.endswith("artisan") for word in arguments)):
        return 1 if "schedule:run" in arguments and not is_silent else 0
    if name in ("apt-get", "apt", "yum", "dnf"):
        return 0 if is_silent else 1
    return 1 if name in ("uptime", "df", "free", "ping", "printenv") else 0
