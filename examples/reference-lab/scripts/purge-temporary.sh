#!/bin/sh
# Remove what jobs left in the temporary folder more than a day ago.
. "$(dirname "$0")/lab.sh"
mkdir -p "$W/tmp"
find "$W/tmp" -type f -mtime +1 -exec rm -f {} \;
echo "$(find "$W/tmp" -type f | grep -c . || true) temporary files left"
