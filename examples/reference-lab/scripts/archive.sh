#!/bin/sh
# archive.sh FOLDER: a compressed archive of one folder of the samples, the last seven kept.
. "$(dirname "$0")/lab.sh"
python3 -c 'import sys; sys.path.insert(0, sys.argv[1]); import lab; lab.samples()' "$(dirname "$0")"
mkdir -p "$W/backups/archives"
file="$W/backups/archives/$1-$now.tar.gz"
tar -czf "$file.part" -C "$W/samples" "$1"
mv "$file.part" "$file"
ls "$W/backups/archives" | grep "^$1-" | sort -r | tail -n +8 | while read -r old; do rm -f "$W/backups/archives/$old"; done
echo "$1: $(tar -tzf "$file" | grep -c .) entries, $(wc -c < "$file" | tr -d ' ') bytes"
