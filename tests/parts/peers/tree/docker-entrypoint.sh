#!/bin/bash
# ZooKeeper's image: settings of the environment are written to where its server reads them, and root's rights are given up.
set -eu
if [ "$(id -u)" = 0 ]; then
  chown -R zookeeper:zookeeper /conf /data /datalog
  exec setpriv --reuid=zookeeper --regid=zookeeper --clear-groups "$0" "$@"
fi
# The admin server needs Jetty, which Kafka does not bring.
cat >/conf/zoo.cfg <<SETTINGS
dataDir=/data
dataLogDir=/datalog
clientPort=2181
tickTime=2000
admin.enableServer=false
4lw.commands.whitelist=${ZOO_4LW_COMMANDS_WHITELIST:-srvr}
SETTINGS
exec "$@"
