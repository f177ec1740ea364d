#!/bin/sh
# Tell the proxy that certificates may have changed.
. "$(dirname "$0")/lab.sh"
mkdir -p "$W/proxy"
echo "$now" > "$W/proxy/reloaded"
echo "proxy reloaded with $(ls "$W/certificates/live" 2>/dev/null | grep -c . || true) renewed certificates"
