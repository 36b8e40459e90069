docker run --network nuvla-backend \
           --entrypoint /app/job_restore.py \
           nuvladev/job:restore-zk-script -h
