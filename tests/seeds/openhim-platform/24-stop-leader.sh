docker exec -t <postgres_leader_container_id> pg_ctl stop -D /bitnami/postgresql/data
