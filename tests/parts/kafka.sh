#!/usr/bin/env bash
# Apache Kafka 3.9.1 (KRaft, one broker) for tests. Every test starts one of its own; its data lies in FOLDER and outlives a stop.
# usage: kafka.sh install | start FOLDER PORT SASL_PORT CONTROLLER_PORT [SASL_SSL_PORT MTLS_PORT] | stop FOLDER
# Needs Debian or Ubuntu, and root or sudo to install. FOLDER/pid holds the broker's process.
# On SASL_PORT the user app with the password app-secret is let in (PLAIN, not encrypted), on SASL_SSL_PORT the same encrypted (PLAIN,
# SCRAM-SHA-256, SCRAM-SHA-512) and by PLAIN also token with change-password, on MTLS_PORT whoever shows a certificate of FOLDER/tls/ca.pem.
# FOLDER/tls/broker.pem is the broker's key and certificate, for localhost.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

jars=$STOKER_PARTS/kafka/jars
start_limit_s=120

install_() {
  need java openjdk-17-jdk-headless default-jdk-headless
  download_jars "$here/kafka/pom.xml" "$jars"
}

write_properties() {
  local login=org.apache.kafka.common.security.plain.PlainLoginModule
  local scram=org.apache.kafka.common.security.scram.ScramLoginModule
  cat >"$folder/server.properties" <<PROPERTIES
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:$controller_port
listeners=PLAINTEXT://127.0.0.1:$port,SASL://127.0.0.1:$sasl_port,CONTROLLER://127.0.0.1:$controller_port
advertised.listeners=PLAINTEXT://127.0.0.1:$port,SASL://127.0.0.1:$sasl_port
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,SASL:SASL_PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=PLAINTEXT
controller.listener.names=CONTROLLER
sasl.enabled.mechanisms=PLAIN
listener.name.sasl.plain.sasl.jaas.config=$login required username="admin" password="admin-secret" user_app="app-secret";
log.dirs=$folder/data
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
group.initial.rebalance.delay.ms=0
PROPERTIES
  [ -n "$sasl_ssl_port" ] || return 0
  sed -i -e "s|^listeners=.*|&,SASLSSL://127.0.0.1:$sasl_ssl_port,MTLS://127.0.0.1:$mtls_port|" \
    -e "s|^advertised.listeners=.*|&,SASLSSL://localhost:$sasl_ssl_port,MTLS://localhost:$mtls_port|" \
    -e "s|^listener.security.protocol.map=.*|&,SASLSSL:SASL_SSL,MTLS:SSL|" "$folder/server.properties"
  cat >>"$folder/server.properties" <<PROPERTIES
listener.name.saslssl.sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512
listener.name.saslssl.plain.sasl.jaas.config=$login required user_app="app-secret" user_token="change-password";
listener.name.saslssl.scram-sha-256.sasl.jaas.config=$scram required;
listener.name.saslssl.scram-sha-512.sasl.jaas.config=$scram required;
ssl.keystore.type=PEM
ssl.keystore.location=$folder/tls/broker.pem
ssl.truststore.type=PEM
ssl.truststore.location=$folder/tls/ca.pem
listener.name.mtls.ssl.client.auth=required
PROPERTIES
}

start_() {
  [ $# = 4 ] || [ $# = 6 ] || usage "start FOLDER PORT SASL_PORT CONTROLLER_PORT [SASL_SSL_PORT MTLS_PORT]"
  folder=$1 port=$2 sasl_port=$3 controller_port=$4 sasl_ssl_port=${5:-} mtls_port=${6:-}
  [ -d "$jars" ] || fail "not installed; run: tests/parts/kafka.sh install"
  mkdir -p "$folder"
  need_free_port "$port" "PORT"
  write_properties
  local kafka=(java -Xmx384m -Dorg.slf4j.simpleLogger.defaultLogLevel=warn -cp "$jars/*")
  if [ ! -f "$folder/data/meta.properties" ]; then
    "${kafka[@]}" kafka.tools.StorageTool format -t "$("${kafka[@]}" kafka.tools.StorageTool random-uuid 2>/dev/null)" \
      --add-scram 'SCRAM-SHA-256=[name=app,password=app-secret]' --add-scram 'SCRAM-SHA-512=[name=app,password=app-secret]' \
      -c "$folder/server.properties" >"$folder/format.log" 2>&1 || {
      tail -n 20 "$folder/format.log" >&2
      fail "Kafka's storage could not be formatted"
    }
  fi
  nohup "${kafka[@]}" kafka.Kafka "$folder/server.properties" </dev/null >"$folder/server.log" 2>&1 &
  echo $! >"$folder/pid"
  local deadline=$((SECONDS + start_limit_s))
  until port_answers "$port" && port_answers "$sasl_port" && port_answers "${mtls_port:-$port}"; do
    if ! kill -0 "$(cat "$folder/pid")" 2>/dev/null || [ "$SECONDS" -gt "$deadline" ]; then
      tail -n 20 "$folder/server.log" >&2
      fail "Kafka did not start; its log is above"
    fi
    sleep 0.2
  done
}

stop_() {
  [ $# = 1 ] || usage "stop FOLDER"
  [ -s "$1/pid" ] || return 0
  kill "$(cat "$1/pid")" 2>/dev/null || true
  rm -f "$1/pid"
}

case ${1:-} in
install | start | stop) "$1_" "${@:2}" ;;
*) usage "install | start FOLDER PORT SASL_PORT CONTROLLER_PORT [SASL_SSL_PORT MTLS_PORT] | stop FOLDER" ;;
esac
