docker rm <postgres_leader_container_id>
