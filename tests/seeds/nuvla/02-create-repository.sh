curl -X PUT "localhost:9200/_snapshot/s3_backup" \
     -H 'Content-Type: application/json' -d @repo.json
