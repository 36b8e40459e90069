#!/bin/bash
exec java -Dorg.slf4j.simpleLogger.defaultLogLevel=warn -cp '/opt/kafka/libs/*' org.apache.zookeeper.ZooKeeperMain "$@"
