-- Times are UTC.
CREATE TABLE reindex_runs (
  run_id BIGINT PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
  -- Target, method, types, URLs and force, as JSON: runs for the same have the same text here.
  asked_for TEXT NOT NULL,
  tstamp TEXT NOT NULL,
  -- stoker.reindex.v1.RunSpec
  spec BYTEA NOT NULL,
  state TEXT NOT NULL CHECK (state IN ('running', 'paused', 'done', 'stopped', 'cancelled')),
  reason TEXT NOT NULL DEFAULT '',
  started TIMESTAMP NOT NULL,
  -- Since when it is done, stopped or cancelled.
  ended TIMESTAMP,
  driver TEXT NOT NULL DEFAULT '',
  lease_token TEXT,
  lease_expiry TIMESTAMP,
  reindexed BIGINT NOT NULL DEFAULT 0,
  gone BIGINT NOT NULL DEFAULT 0,
  requests BIGINT NOT NULL DEFAULT 0,
  failed_requests BIGINT NOT NULL DEFAULT 0,
  -- How many rows of set_aside have failed, and how many wait.
  failed BIGINT NOT NULL DEFAULT 0,
  waiting BIGINT NOT NULL DEFAULT 0,
  frontier BIGINT,
  -- Spans of index ids that are not settled, [[first, last], ...].
  open_spans TEXT NOT NULL DEFAULT '[]',
  total BIGINT,
  concurrency BIGINT NOT NULL DEFAULT 0,
  batch BIGINT NOT NULL DEFAULT 0,
  per_second DOUBLE PRECISION NOT NULL DEFAULT 0,
  trouble TEXT NOT NULL DEFAULT '',
  job_asked TIMESTAMP,
  -- Ids, as a JSON array.
  job_there_before TEXT NOT NULL DEFAULT '[]',
  job_id TEXT NOT NULL DEFAULT '',
  job_state TEXT NOT NULL DEFAULT ''
);

-- Resources that failed by themselves: to be tried again, or given up.
CREATE TABLE reindex_set_aside (
  run_id BIGINT NOT NULL REFERENCES reindex_runs (run_id),
  index_id BIGINT NOT NULL,
  failed BOOLEAN NOT NULL,
  attempts BIGINT NOT NULL,
  http_status BIGINT NOT NULL,
  reason TEXT NOT NULL,
  time TIMESTAMP NOT NULL,
  PRIMARY KEY (run_id, index_id)
);

CREATE INDEX reindex_set_aside_waiting ON reindex_set_aside (run_id, index_id) WHERE NOT failed;
