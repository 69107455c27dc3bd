-- What a project may use (NULL is no limit), how full its storage is and what was done about it, and when its tables
-- were last purged.

ALTER TABLE projects ADD COLUMN cpu_millis BIGINT;
ALTER TABLE projects ADD COLUMN memory_bytes BIGINT;
ALTER TABLE projects ADD COLUMN storage_bytes BIGINT;

-- `settled` is 1 once the statements of `state` have run and it was told: until then every look does both again.
CREATE TABLE budgets (
    project_id  TEXT PRIMARY KEY REFERENCES projects (id),
    state       TEXT NOT NULL,
    settled     BIGINT NOT NULL,
    used_bytes  BIGINT NOT NULL,
    complete    BIGINT NOT NULL,
    changed_at  BIGINT NOT NULL,
    observed_at BIGINT NOT NULL
);

CREATE TABLE purges (
    project_id TEXT NOT NULL REFERENCES projects (id),
    name       TEXT NOT NULL,
    ran_at     BIGINT NOT NULL,
    PRIMARY KEY (project_id, name)
);
