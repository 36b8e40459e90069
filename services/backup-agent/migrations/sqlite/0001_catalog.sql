-- Times are UTC.

-- What repositories hold, as far as is known; each repository's own manifests decide.
CREATE TABLE backup_held (
  -- The repository: folder or address.
  place TEXT NOT NULL,
  name TEXT NOT NULL,
  source TEXT NOT NULL,
  started TIMESTAMP NOT NULL,
  -- The manifest, as JSON.
  manifest TEXT NOT NULL,
  -- Which change of the table brought it.
  change_id BIGINT NOT NULL,
  PRIMARY KEY (place, name)
) WITHOUT ROWID;
CREATE INDEX backup_held_source ON backup_held (source, started);

-- One row: how many changes there were.
CREATE TABLE backup_changes (changes BIGINT NOT NULL);
INSERT INTO backup_changes (changes) VALUES (0);

-- Every restore for proof there was, also of backups that are gone.
CREATE TABLE backup_proofs (
  place TEXT NOT NULL,
  name TEXT NOT NULL,
  proven_at TIMESTAMP NOT NULL,
  source TEXT NOT NULL,
  -- The proof, as JSON.
  proof TEXT NOT NULL,
  PRIMARY KEY (place, name, proven_at)
) WITHOUT ROWID;
CREATE INDEX backup_proofs_source ON backup_proofs (source, proven_at);

CREATE TABLE backup_runs (
  run_id INTEGER PRIMARY KEY AUTOINCREMENT,
  source TEXT NOT NULL,
  task TEXT NOT NULL CHECK (task IN ('backup', 'verify', 'drill', 'prune', 'restore', 'import')),
  -- When the schedule wanted it; none where a person did.
  due TIMESTAMP,
  -- The backup that it writes or reads, and where that lies.
  place TEXT NOT NULL,
  backup TEXT NOT NULL,
  agent TEXT NOT NULL,
  state TEXT NOT NULL CHECK (state IN ('running', 'done', 'failed', 'lost')),
  reason TEXT NOT NULL DEFAULT '',
  -- It failed since a backup was found bad.
  found_bad BOOLEAN NOT NULL DEFAULT FALSE,
  started TIMESTAMP NOT NULL,
  ended TIMESTAMP,
  lease_token TEXT,
  lease_expiry TIMESTAMP,
  phase TEXT NOT NULL DEFAULT '',
  bytes BIGINT NOT NULL DEFAULT 0,
  total_bytes BIGINT
);
-- No two at once.
CREATE UNIQUE INDEX backup_runs_running ON backup_runs (source, task) WHERE state = 'running';
CREATE INDEX backup_runs_due ON backup_runs (source, task, due);

CREATE TABLE backup_schedule (
  source TEXT NOT NULL,
  task TEXT NOT NULL,
  -- When the last run that is over was due; before the first one, when the schedule was seen first.
  last_due TIMESTAMP NOT NULL,
  PRIMARY KEY (source, task)
) WITHOUT ROWID;

-- What is wrong, and what was told of it to others.
CREATE TABLE backup_troubles (
  source TEXT NOT NULL,
  kind TEXT NOT NULL,
  -- What tells it from others of its kind; empty where there is one at a time.
  subject TEXT NOT NULL,
  trouble_id TEXT NOT NULL,
  backup TEXT NOT NULL,
  sentence TEXT NOT NULL,
  since TIMESTAMP NOT NULL,
  ended TIMESTAMP,
  -- How many notices were taken of it, and when the last one was.
  told BIGINT NOT NULL DEFAULT 0,
  told_at TIMESTAMP,
  -- Who is at telling the next one.
  claim_token TEXT,
  claim_expiry TIMESTAMP,
  PRIMARY KEY (source, kind, subject)
) WITHOUT ROWID;
