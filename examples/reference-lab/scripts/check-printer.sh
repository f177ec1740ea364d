#!/bin/sh
# The printer has been out of toner for weeks. This job fails, and says so.
. "$(dirname "$0")/lab.sh"
echo "printer: toner black 0 %, cyan 41 %, magenta 38 %, yellow 44 %"
echo "printer: black is empty, nothing can be printed" >&2
exit 1
