docker run -d --network=mongo_backup --mount type=bind,source=/backups,target=/backups mongo:4.2
