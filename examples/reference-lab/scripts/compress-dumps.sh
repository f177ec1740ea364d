#!/bin/sh
# Compress every database dump.
. "$(dirname "$0")/lab.sh"
for file in "$W"/backups/dumps/*.sql; do
    gzip -9 -c "$file" > "$file.gz.part"
    mv "$file.gz.part" "$file.gz"
    echo "$(basename "$file"): $(wc -c < "$file" | tr -d ' ') -> $(wc -c < "$file.gz" | tr -d ' ') bytes"
done
