-- What projects used over time, bounded by age: `fine` is a row per sample, `coarse` one per quarter of an hour. `data`
-- is JSON with all services of the project.

CREATE TABLE usage_series (
    project_id  TEXT NOT NULL REFERENCES projects (id),
    grain       TEXT NOT NULL,
    at          BIGINT NOT NULL,
    data        TEXT NOT NULL,
    PRIMARY KEY (project_id, grain, at)
);
CREATE INDEX usage_series_by_age ON usage_series (grain, at);

-- The outbox of the operator's webhook. A message is written in the transaction that changes what it tells. `state` is
-- waiting, sent, failed or folded (over before it was sent). `position` is the order of writing.

CREATE TABLE notices (
    id          TEXT PRIMARY KEY,
    position    BIGINT NOT NULL UNIQUE,
    kind        TEXT NOT NULL,
    project_id  TEXT REFERENCES projects (id),
    name        TEXT NOT NULL,
    told_before TEXT NOT NULL,
    told        TEXT NOT NULL,
    reason      TEXT NOT NULL,
    at          BIGINT NOT NULL,
    folded      BIGINT NOT NULL,
    state       TEXT NOT NULL,
    tries       BIGINT NOT NULL,
    due_at      BIGINT NOT NULL,
    error       TEXT NOT NULL,
    created_at  BIGINT NOT NULL
);
CREATE INDEX notices_by_due ON notices (state, due_at);
CREATE INDEX notices_by_project ON notices (project_id, kind, position);

-- What the operator wants to hear, as the daemon was last started with: the transaction that changes a status has to
-- know. No row, no message. `window_ms`: the same news of the same project is told once in so long.
CREATE TABLE notice_kinds (
    kind        TEXT PRIMARY KEY,
    window_ms   BIGINT NOT NULL
);
