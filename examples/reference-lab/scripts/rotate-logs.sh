#!/bin/sh
# Move logs aside under today's date.
. "$(dirname "$0")/lab.sh"
mkdir -p "$W/logs/old"
echo "$now rotated" >> "$W/logs/lab.log"
for file in "$W"/logs/*.log; do
    mv "$file" "$W/logs/old/$(basename "$file" .log)-$now.log"
    echo "rotated $(basename "$file")"
done
