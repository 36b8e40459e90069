#!/bin/bash
# OpenSearch's image: variables of the environment that have a dot in their name are settings.
set -eu
export OPENSEARCH_HOME=/usr/share/opensearch
settings=()
while IFS='=' read -r name value; do
  [[ ! $name =~ ^[a-z0-9_]+\.[a-z0-9_.]+$ ]] || settings+=("-E$name=$value")
done < <(env)
exec "$@" "${settings[@]}"
