#!/bin/sh
# Copy the compressed dumps to "the other site", a folder a day; compare after copying.
. "$(dirname "$0")/lab.sh"
day=$(date -u +%Y-%m-%d)
mkdir -p "$W/offsite/$day"
for file in "$W"/backups/dumps/*.sql.gz; do
    cp "$file" "$W/offsite/$day/"
    cmp "$file" "$W/offsite/$day/$(basename "$file")"
    echo "copied $(basename "$file") to $day"
done
