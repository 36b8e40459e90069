-- When the last listing that a job had asked for ended, also one that failed: a configured load is
-- listed again some time after it.
ALTER TABLE jobs ADD COLUMN listed TIMESTAMP;
