-- Times are milliseconds since the Unix epoch, booleans 0/1, structured values JSON text: what both
-- databases take unchanged (decision 26). Keep the numbers of migrations/postgres the same.

CREATE TABLE installation (
    id          TEXT PRIMARY KEY,
    key_id      TEXT NOT NULL,
    created_at  BIGINT NOT NULL
);

CREATE TABLE organizations (
    id          TEXT PRIMARY KEY,
    name        TEXT NOT NULL,
    created_at  BIGINT NOT NULL
);

CREATE TABLE engines (
    id          TEXT PRIMARY KEY,
    created_at  BIGINT NOT NULL
);

CREATE TABLE regions (
    name        TEXT PRIMARY KEY,
    engine_id   TEXT NOT NULL REFERENCES engines (id)
);

CREATE TABLE projects (
    id              TEXT PRIMARY KEY,
    name            TEXT NOT NULL,
    organization_id TEXT NOT NULL REFERENCES organizations (id),
    region          TEXT NOT NULL REFERENCES regions (name),
    status          TEXT NOT NULL,
    generation      BIGINT NOT NULL,
    template_set    TEXT NOT NULL,
    image_set       TEXT NOT NULL,
    error_step      TEXT,
    error_code      TEXT,
    error_message   TEXT,
    error_log_tail  TEXT,
    next_event      BIGINT NOT NULL,
    created_at      BIGINT NOT NULL,
    updated_at      BIGINT NOT NULL,
    activated_at    BIGINT,
    deleted_at      BIGINT
);
CREATE INDEX projects_by_status ON projects (status);

-- A released port or subnet keeps its row without a project until it has rested (decision 17).
CREATE TABLE ports (
    engine_id   TEXT NOT NULL REFERENCES engines (id),
    port        BIGINT NOT NULL,
    name        TEXT NOT NULL,
    project_id  TEXT REFERENCES projects (id),
    released_at BIGINT,
    PRIMARY KEY (engine_id, port)
);
CREATE INDEX ports_by_project ON ports (project_id);

CREATE TABLE subnets (
    engine_id   TEXT NOT NULL REFERENCES engines (id),
    subnet      TEXT NOT NULL,
    project_id  TEXT REFERENCES projects (id),
    released_at BIGINT,
    PRIMARY KEY (engine_id, subnet)
);
CREATE INDEX subnets_by_project ON subnets (project_id);

CREATE TABLE secrets (
    project_id  TEXT NOT NULL REFERENCES projects (id),
    name        TEXT NOT NULL,
    key_id      TEXT NOT NULL,
    sealed      BLOB NOT NULL,
    PRIMARY KEY (project_id, name)
);

CREATE TABLE operations (
    id          TEXT PRIMARY KEY,
    project_id  TEXT NOT NULL REFERENCES projects (id),
    kind        TEXT NOT NULL,
    state       TEXT NOT NULL,
    generation  BIGINT NOT NULL,
    plugins     TEXT NOT NULL,
    created_at  BIGINT NOT NULL,
    deadline_at BIGINT NOT NULL,
    ended_at    BIGINT,
    error       TEXT
);
CREATE INDEX operations_by_project ON operations (project_id, created_at);
-- One unfinished operation per project, whatever happens above the store.
CREATE UNIQUE INDEX operations_unfinished ON operations (project_id) WHERE ended_at IS NULL;

CREATE TABLE steps (
    operation_id TEXT NOT NULL REFERENCES operations (id),
    position     BIGINT NOT NULL,
    name         TEXT NOT NULL,
    state        TEXT NOT NULL,
    started_at   BIGINT NOT NULL,
    ended_at     BIGINT,
    detail       TEXT,
    PRIMARY KEY (operation_id, name)
);

-- What an operation chose once and must use until it ends: image key -> digest.
CREATE TABLE operation_images (
    operation_id TEXT NOT NULL REFERENCES operations (id),
    service      TEXT NOT NULL,
    reference    TEXT NOT NULL,
    digest       TEXT NOT NULL,
    PRIMARY KEY (operation_id, service)
);

CREATE TABLE events (
    project_id  TEXT NOT NULL REFERENCES projects (id),
    id          BIGINT NOT NULL,
    kind        TEXT NOT NULL,
    data        TEXT NOT NULL,
    at          BIGINT NOT NULL,
    PRIMARY KEY (project_id, id)
);

CREATE TABLE observations (
    project_id   TEXT NOT NULL REFERENCES projects (id),
    service      TEXT NOT NULL,
    state        TEXT NOT NULL,
    reason       TEXT NOT NULL,
    endpoint     TEXT NOT NULL,
    latency_ms   BIGINT NOT NULL,
    container_id TEXT,
    since        BIGINT NOT NULL,
    observed_at  BIGINT NOT NULL,
    PRIMARY KEY (project_id, service)
);

-- The newest sample only: millicores, bytes, bytes.
CREATE TABLE usage_samples (
    project_id    TEXT PRIMARY KEY REFERENCES projects (id),
    cpu_millis    BIGINT NOT NULL,
    memory_bytes  BIGINT NOT NULL,
    storage_bytes BIGINT NOT NULL,
    observed_at   BIGINT NOT NULL
);

CREATE TABLE tokens (
    id              TEXT PRIMARY KEY,
    name            TEXT NOT NULL,
    hash            TEXT NOT NULL UNIQUE,
    organization_id TEXT NOT NULL REFERENCES organizations (id),
    created_at      BIGINT NOT NULL
);

CREATE TABLE idempotency_keys (
    token_id    TEXT NOT NULL REFERENCES tokens (id),
    key_hash    TEXT NOT NULL,
    body_hash   TEXT NOT NULL,
    project_id  TEXT NOT NULL REFERENCES projects (id),
    created_at  BIGINT NOT NULL,
    PRIMARY KEY (token_id, key_hash)
);

CREATE TABLE audit (
    id          TEXT PRIMARY KEY,
    at          BIGINT NOT NULL,
    token_id    TEXT NOT NULL,
    action      TEXT NOT NULL,
    project_id  TEXT,
    detail      TEXT NOT NULL
);
CREATE INDEX audit_by_time ON audit (at);
