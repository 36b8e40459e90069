curl -X POST "localhost:9200/_snapshot/s3_backup/snapshot_1/_restore"
