#!/bin/sh
# Metrics from a sensor that answers only when asked a second time: the reason why this job has retries.
. "$(dirname "$0")/lab.sh"
mkdir -p "$W/metrics"
if [ "${HOMELAB_ATTEMPT:-2}" = 1 ]; then
    echo "the sensor did not answer" >&2
    exit 75
fi
echo "$now,21.$(date +%S)" >> "$W/metrics/sensor.csv"
echo "the sensor answered: $(tail -n 1 "$W/metrics/sensor.csv")"
