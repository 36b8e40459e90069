//! How each command is used.

pub(super) const ALL: &str = "Examples:
  stoker backup run --source postgres://me@db:5432 --password-file pw --repository /backups
  stoker backup list --repository /backups
  stoker backup verify latest --repository s3://bucket/backups --s3-endpoint http://minio:9000
  stoker backup drill latest --repository /backups               restore it for proof
  stoker backup restore latest --repository /backups --into /var/lib/postgresql/15/main --start
  stoker backup plan --server http://agent:7705                  how all of it stands

Exit codes: 0 done, and what was looked at is good · 1 could not run, or failed: the sentence says why
            2 a backup was found bad · 3 interrupted: nothing half done is left";

pub(super) const RUN: &str = "Examples:
  stoker backup run --source postgres://me@db:5432 --password-file pw --repository /backups
  stoker backup run --source postgres://me@db1,db2:5432 --repository s3://bucket/fhir --compression zstd --name fhir
  stoker backup run fhir --config stoker.yaml                    a source that the configuration names
  stoker backup run fhir --server http://agent:7705 --json

Exit codes: 0 the backup is there, and good as far as it was looked at · 1 there is none: the sentence says why
            2 it is there, and bad · 3 interrupted: nothing of it is left";

pub(super) const PLAN: &str = "Examples:
  stoker backup plan
  stoker backup plan --server http://agent:7705 --json";

pub(super) const LIST: &str = "Examples:
  stoker backup list --repository /backups
  stoker backup list --source fhir --json

Exit codes: 0 done · 1 could not run: the sentence says why · 2 a backup is left out, for its manifest cannot be used";

pub(super) const SHOW: &str = "Examples:
  stoker backup show latest --repository /backups
  stoker backup show postgresql_1769860800 --json";

pub(super) const VERIFY: &str = "Examples:
  stoker backup verify latest --repository /backups
  stoker backup verify postgresql_1769860800 --sample 10%
  stoker backup verify --all --source fhir --json

Exit codes: 0 all are good · 1 some could not be read, and none was found bad · 2 some are bad · 3 interrupted";

pub(super) const RESTORE: &str = "Examples:
  stoker backup restore latest --into /var/lib/postgresql/15/main --owner postgres --start
  stoker backup restore postgresql_1769860800 --into /bitnami/postgresql/data --owner 1001 --conf /bitnami/conf
  stoker backup restore latest --into /srv/data --tablespace /mnt/old=/mnt/new --overwrite

Exit codes: 0 restored · 1 it was not: the sentence says why · 2 the backup is bad · 3 interrupted: no server starts
            on the folder; the same command again clears and fills it";

pub(super) const DRILL: &str = "Examples:
  stoker backup drill latest --repository /backups
  stoker backup drill postgresql_1769860800 --server http://agent:7705

Exit codes: 0 proven · 1 nothing was learnt: the sentence says why · 2 the backup is bad · 3 interrupted";

pub(super) const PRUNE: &str = "Examples:
  stoker backup prune --repository /backups
  stoker backup prune --source fhir --apply

Exit codes: 0 done · 1 nothing goes, or not all: the sentence says why";

pub(super) const RUNS: &str = "Examples:
  stoker backup runs
  stoker backup runs --source fhir --limit 10 --json
  stoker backup runs 12";

pub(super) const WATCH: &str = "Examples:
  stoker backup watch 12
  stoker backup watch 12 --server http://agent:7705 --json

Exit codes: as the run would end as a command of its own";

pub(super) const CANCEL: &str = "Examples:
  stoker backup cancel 12 --server http://agent:7705";

pub(super) const SCHEDULE: &str = "Examples:
  stoker backup schedule --server http://agent:7705
  stoker backup schedule --ofelia config.ini --var POSTGRES_PASSWORD_FILE=/run/secrets/pw --path backups=/mnt/backups";

pub(super) const IMPORT: &str = "Examples:
  stoker backup import /backups/postgresql_1769860800 --source fhir --repository /backups
  stoker backup import /old/mongodump_2026-01-31.gz --source documents --repository s3://bucket/backups

Exit codes: 0 taken in · 1 it was not: the sentence says why · 2 it is bad · 3 interrupted: nothing of it is left";
