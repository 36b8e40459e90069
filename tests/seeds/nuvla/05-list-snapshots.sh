curl "localhost:9200/_cat/_snapshots/s3_backup"
