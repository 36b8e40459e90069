#!/bin/bash
# One Kafka broker that is its own controller; makes its storage at its first start.
set -euo pipefail
kafka=/opt/kafka/bin
settings=/etc/kafka/stoker/server.properties
if [ ! -e /var/lib/kafka/data/meta.properties ]; then
  "$kafka/kafka-storage.sh" format --cluster-id "$("$kafka/kafka-storage.sh" random-uuid)" --config "$settings"
fi
exec "$kafka/kafka-server-start.sh" "$settings"
