#!/bin/sh
# Compress rotated logs.
. "$(dirname "$0")/lab.sh"
find "$W/logs/old" -name '*.log' -exec gzip -f {} \;
echo "$(ls "$W/logs/old" | grep -c '\.gz$') compressed logs"
