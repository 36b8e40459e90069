#!/bin/bash
# One Kafka broker that is its own controller; makes its storage at its first start.
set -euo pipefail
kafka=/opt/kafka/bin
settings=/etc/kafka/stoker/server.properties
if [ ! -e /var/lib/kafka/data/meta.properties ]; then
  "$kafka/kafka-storage.sh" format --cluster-id "$("$kafka/kafka-storage.sh" random-uuid)" --config "$settings"
fi
# A LinuxForHealth server would make it with its first message, and remote-indexer is not ready before.
make_topic() {
  until KAFKA_HEAP_OPTS=-Xmx128m "$kafka/kafka-topics.sh" --bootstrap-server localhost:9092 --create --if-not-exists --topic FHIR_REMOTE_INDEX >/dev/null; do
    sleep 2
  done
}
make_topic &
exec "$kafka/kafka-server-start.sh" "$settings"
