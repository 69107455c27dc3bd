-- The key that hashes, sealed under the master key. Empty until the master key is changed: before that it is derived from
-- it. Hashes stand in container labels and beside idempotency keys and must outlive the change.

ALTER TABLE installation ADD COLUMN hash_key BYTEA;
