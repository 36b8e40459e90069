#!/bin/bash
# usage: zkServer.sh start-foreground|status
set -eu
case ${1:-} in
start-foreground)
  # shellcheck disable=SC2086
  exec java ${JVMFLAGS:-} -Dorg.slf4j.simpleLogger.defaultLogLevel=warn -cp '/opt/kafka/libs/*' \
    org.apache.zookeeper.server.quorum.QuorumPeerMain /conf/zoo.cfg
  ;;
status)
  exec 3<>/dev/tcp/127.0.0.1/2181
  printf srvr >&3
  grep '^Mode: ' <&3
  ;;
*) exit 2 ;;
esac
