# Read by the shell scripts: W is the folder to work in, below which everything is written.
set -eu
W=${LAB_WORK:-${HOMELAB_HOME:?set LAB_WORK to the folder to work in, or HOMELAB_HOME}/work}
mkdir -p "$W"
now=$(date -u +%Y%m%dT%H%M%SZ)
