#!/usr/bin/env bash
# One image for the servers of compose/ where none can be pulled: PostgreSQL, pgBouncer, Kafka, MinIO, Redis, nginx, ZooKeeper, OpenSearch,
# Prometheus and Alertmanager as they are installed here, laid over the base image of docker.sh. It takes the place of the official ones:
# programs of the same names, with the same users and folders. Where compose/ leaves it to an image what is started, IMAGE-zookeeper and
# IMAGE-opensearch say so.
# usage: peers.sh install|image|env      needs Debian or Ubuntu, and root; docker.sh, postgres.sh, kafka.sh and minio.sh installed before
set -euo pipefail
. "$(dirname "$0")/lib.sh"

eval "$("$here/docker.sh" env)"
export DOCKER_HOST=$STOKER_TEST_DOCKER
mapfile -t files < <(find "$here/peers" -type f | sort)
image=stoker-parts/peers:$(checksum "$0" "${files[@]}")
tools=$STOKER_PARTS/peers/jars
commands=(bash sh cat chmod chown curl dirname env find grep id ls mkdir od printf rm sed setpriv sleep touch tr uname)
servers=(pgbouncer redis-server redis-cli nginx prometheus promtool prometheus-alertmanager amtool)

install_() {
  if ! type -P "${servers[@]}" curl >/dev/null; then
    install_servers pgbouncer redis-server nginx-light prometheus prometheus-alertmanager curl
  fi
  need unzip unzip
  download_jars "$here/peers/pom.xml" "$tools"
}

# with_libraries FILE...: programs at the paths they have here, and all libraries they need.
with_libraries() {
  local file
  for file in "$@"; do
    echo "$file"
    ldd "$file" 2>/dev/null | grep -oE '/[^ ]+' || true
  done | sort -u | while read -r file; do
    install -D "$(readlink -f "$file")" "$tree$file"
  done
}

# Made once for each content of this script and its folder.
image_() {
  ! docker image inspect "$image" >/dev/null 2>&1 || return 0
  say "making $image"
  local jvm postgres kafka minio user
  minio=$("$here/minio.sh" env | cut -d= -f2)
  kafka=$STOKER_PARTS/kafka/jars
  postgres=$(find /usr/lib/postgresql -mindepth 1 -maxdepth 1 | sort -V | tail -n 1)
  jvm=$(dirname "$(dirname "$(readlink -f "$(command -v java)")")")
  for file in "$minio" "$kafka" "$tools" "$postgres/bin/postgres"; do
    [ -e "$file" ] || fail "$file is missing; run the other scripts' install first"
  done
  tree=$(mktemp -d)
  trap 'rm -rf "$tree"' EXIT

  local programs=("$postgres"/bin/{postgres,initdb,pg_ctl,pg_amcheck,pg_basebackup,pg_isready,psql} "$postgres"/lib/*.so "$jvm/bin/java" "$jvm/lib/server/libjvm.so")
  for program in "${commands[@]}" "${servers[@]}"; do
    programs+=("$(type -P "$program")")
  done
  with_libraries "${programs[@]}"
  install -D "$minio" "$tree/usr/bin/minio"
  mkdir -p "$tree/usr/share/postgresql" "$tree/opt/kafka/bin" "$tree$jvm" "$tree/etc/nginx"
  cp -a "/usr/share/postgresql/${postgres##*/}" "$tree/usr/share/postgresql/"
  cp -a /usr/share/zoneinfo "$tree/usr/share/"
  install -D -t "$tree/usr/share/prometheus/alertmanager" /usr/share/prometheus/alertmanager/*.tmpl
  cp -a "$kafka" "$tree/opt/kafka/libs"
  cp -a "$tools"/*.jar "$tree/opt/kafka/libs/"
  tar -C "$jvm" --exclude=./jmods --exclude=./lib/src.zip --exclude=./include --exclude=./man -hc . | tar -C "$tree$jvm" -x
  kafka_script kafka-storage.sh kafka.tools.StorageTool
  kafka_script kafka-server-start.sh kafka.Kafka
  kafka_script kafka-topics.sh org.apache.kafka.tools.TopicCommand
  unzip -q -d "$tree/usr/share" "$tools"/opensearch-*.zip
  mv "$tree"/usr/share/opensearch-* "$tree/usr/share/opensearch"
  ln -s "$jvm" "$tree/usr/share/opensearch/jdk"
  cp -r "$here/peers/tree/." "$tree/"
  ln -s "$jvm/bin/java" "$tree/usr/bin/java"
  ln -s usr/bin "$tree/bin"
  ln -s prometheus-alertmanager "$tree/usr/bin/alertmanager"
  make_folders
  pack
}

make_folders() {
  mkdir -p "$tree"/{tmp,conf,data,datalog,root,prometheus,alertmanager} "$tree"/var/{lib/postgresql/data,lib/kafka/data,log/nginx,lib/nginx} "$tree/usr/share/opensearch/data"
  cat >"$tree/etc/passwd" <<USERS
root:x:0:0::/root:/bin/sh
postgres:x:999:999::/var/lib/postgresql:/bin/sh
zookeeper:x:1000:1000::/data:/bin/sh
opensearch:x:1000:1000::/usr/share/opensearch:/bin/sh
nobody:x:65534:65534::/tmp:/bin/sh
USERS
  printf 'root:x:0:\npostgres:x:999:\nzookeeper:x:1000:\nopensearch:x:1000:\nnogroup:x:65534:\n' >"$tree/etc/group"
  chmod 1777 "$tree/tmp"
  chown -R 999:999 "$tree/var/lib/postgresql"
  chown -R 1000:1000 "$tree/usr/share/opensearch"
  chown nobody "$tree/prometheus"
}

# Imported whole: a build would copy all of it twice. It has its name only when the images that begin with it have theirs.
pack() {
  local base id
  base=$(docker create "$STOKER_TEST_BASE_IMAGE" true)
  docker export "$base" | tar -C "$tree" --skip-old-files --keep-directory-symlink -x
  docker rm "$base" >/dev/null
  id=$(tar -C "$tree" -c . | docker import --change "ENV PATH=$postgres/bin:/usr/local/bin:/usr/sbin:/usr/bin:/bin" --change 'ENV LANG=C' -)
  DOCKER_BUILDKIT=0 docker build --quiet --tag "$image-zookeeper" - >/dev/null <<DOCKERFILE
FROM $id
VOLUME /data /datalog
ENTRYPOINT ["/docker-entrypoint.sh"]
CMD ["zkServer.sh", "start-foreground"]
DOCKERFILE
  DOCKER_BUILDKIT=0 docker build --quiet --tag "$image-opensearch" - >/dev/null <<DOCKERFILE
FROM $id
ENV PATH=\$PATH:/usr/share/opensearch/bin
WORKDIR /usr/share/opensearch
USER 1000
ENTRYPOINT ["./opensearch-docker-entrypoint.sh"]
CMD ["opensearch"]
DOCKERFILE
  docker tag "$id" "$image"
}

# kafka_script NAME CLASS: as in Kafka's own image, its program by name.
kafka_script() {
  cat >"$tree/opt/kafka/bin/$1" <<SCRIPT
#!/bin/bash
exec java \${KAFKA_HEAP_OPTS:-} -Dorg.slf4j.simpleLogger.defaultLogLevel=warn -cp '/opt/kafka/libs/*' $2 "\$@"
SCRIPT
  chmod +x "$tree/opt/kafka/bin/$1"
}

env_() { echo "export STOKER_TEST_PEERS_IMAGE=$image"; }

case ${1:-} in
install | image | env) "${1}_" ;;
*) usage "install|image|env" ;;
esac
