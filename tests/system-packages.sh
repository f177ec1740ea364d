#!/bin/sh
# Install what some tests use and pip cannot bring (Debian and its kin, as root). Elsewhere, say what is missing.
need=""
command -v tmux >/dev/null 2>&1 || need="$need tmux"
command -v crontab >/dev/null 2>&1 || need="$need cron"
command -v chromium >/dev/null 2>&1 || need="$need chromium"
command -v zsh >/dev/null 2>&1 || need="$need zsh"
command -v fish >/dev/null 2>&1 || need="$need fish"
command -v groff >/dev/null 2>&1 || need="$need groff"
command -v dot >/dev/null 2>&1 || need="$need graphviz"
[ -z "$need" ] && exit 0
if command -v apt-get >/dev/null 2>&1 && [ "$(id -u)" = 0 ]; then
    # A policy that refuses to start services: the cron package must not begin to run this machine's crontabs.
    (apt-get update -qq && RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $need) \
        >/dev/null 2>&1 || echo "tests: could not install:$need (tests that use them say so)"
else
    echo "tests: not installed here:$need (tests that use them say so)"
fi
