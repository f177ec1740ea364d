#!/bin/sh
# Say that this machine is alive, and how many beats there were.
. "$(dirname "$0")/lab.sh"
mkdir -p "$W/metrics"
echo "$now" >> "$W/metrics/heartbeat.txt"
echo "alive at $now, beat $(grep -c . "$W/metrics/heartbeat.txt")"
