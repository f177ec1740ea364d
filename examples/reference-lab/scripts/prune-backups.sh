#!/bin/sh
# Keep the copies of the last seven days.
. "$(dirname "$0")/lab.sh"
ls "$W/offsite" | sort -r | tail -n +8 | while read -r old; do rm -rf "${W:?}/offsite/$old"; echo "removed $old"; done
echo "$(ls "$W/offsite" | grep -c .) days kept"
