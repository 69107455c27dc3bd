-- People: who may act, where, as what; and what was done, in a chain. What an organisation or a project is made of stays in
-- its own tables.

CREATE TABLE users (
    id          TEXT PRIMARY KEY,
    number      BIGINT NOT NULL UNIQUE,
    email       TEXT NOT NULL UNIQUE,
    name        TEXT NOT NULL,
    password    TEXT NOT NULL,
    created_at  BIGINT NOT NULL,
    disabled_at BIGINT
);

CREATE TABLE members (
    organization_id TEXT NOT NULL REFERENCES organizations (id),
    user_id         TEXT NOT NULL REFERENCES users (id),
    role            TEXT NOT NULL,
    created_at      BIGINT NOT NULL,
    PRIMARY KEY (organization_id, user_id)
);
CREATE INDEX members_by_user ON members (user_id);

-- A role on one project, beside or without one in its organisation.
CREATE TABLE project_members (
    project_id  TEXT NOT NULL REFERENCES projects (id),
    user_id     TEXT NOT NULL REFERENCES users (id),
    role        TEXT NOT NULL,
    created_at  BIGINT NOT NULL,
    PRIMARY KEY (project_id, user_id)
);
CREATE INDEX project_members_by_user ON project_members (user_id);

-- Ended when it was taken or withdrawn. With projects (a JSON list of refs) the role is on those alone.
CREATE TABLE invitations (
    id              TEXT PRIMARY KEY,
    organization_id TEXT NOT NULL REFERENCES organizations (id),
    email           TEXT NOT NULL,
    role            TEXT NOT NULL,
    projects        TEXT NOT NULL,
    invited_by      TEXT NOT NULL,
    hash            TEXT NOT NULL UNIQUE,
    created_at      BIGINT NOT NULL,
    expires_at      BIGINT NOT NULL,
    ended_at        BIGINT
);
CREATE INDEX invitations_by_organization ON invitations (organization_id, created_at);

CREATE TABLE sessions (
    id          TEXT PRIMARY KEY,
    user_id     TEXT NOT NULL REFERENCES users (id),
    created_at  BIGINT NOT NULL,
    expires_at  BIGINT NOT NULL,
    ended_at    BIGINT,
    ended_by    TEXT
);
CREATE INDEX sessions_by_user ON sessions (user_id);

-- Each is good once; one that comes a second time ends its session.
CREATE TABLE refresh_tokens (
    hash        TEXT PRIMARY KEY,
    session_id  TEXT NOT NULL REFERENCES sessions (id),
    created_at  BIGINT NOT NULL,
    used_at     BIGINT
);
CREATE INDEX refresh_tokens_by_session ON refresh_tokens (session_id);

-- A token without a user owns its organisation: those of before, and what the command line makes for scripts. One with a
-- user may what its user may, less what its scope (JSON) takes away; its organisation is where it creates by default.
ALTER TABLE tokens ADD COLUMN user_id TEXT REFERENCES users (id);
ALTER TABLE tokens ADD COLUMN hint TEXT NOT NULL DEFAULT '';
ALTER TABLE tokens ADD COLUMN scope TEXT NOT NULL DEFAULT '{}';
ALTER TABLE tokens ADD COLUMN expires_at BIGINT;
ALTER TABLE tokens ADD COLUMN last_used_at BIGINT;
ALTER TABLE tokens ADD COLUMN revoked_at BIGINT;
CREATE INDEX tokens_by_user ON tokens (user_id);

-- The number is what dialects with numeric ids call it.
ALTER TABLE organizations ADD COLUMN number BIGINT;
ALTER TABLE organizations ADD COLUMN deleted_at BIGINT;
UPDATE organizations SET number = (SELECT COUNT(*) FROM organizations o WHERE o.created_at < organizations.created_at
    OR (o.created_at = organizations.created_at AND o.id <= organizations.id));
CREATE UNIQUE INDEX organizations_by_number ON organizations (number);

-- Whoever keeps a key may be a session of a user, which is no token.
CREATE TABLE idempotency_keys_of_callers (
    caller      TEXT NOT NULL,
    key_hash    TEXT NOT NULL,
    body_hash   TEXT NOT NULL,
    project_id  TEXT NOT NULL REFERENCES projects (id),
    created_at  BIGINT NOT NULL,
    PRIMARY KEY (caller, key_hash)
);
INSERT INTO idempotency_keys_of_callers SELECT token_id, key_hash, body_hash, project_id, created_at FROM idempotency_keys;
DROP TABLE idempotency_keys;
ALTER TABLE idempotency_keys_of_callers RENAME TO idempotency_keys;

-- Every line holds the hash of itself and of the line before it. Lines of before have none until the daemon starts.
ALTER TABLE audit RENAME COLUMN token_id TO caller;
ALTER TABLE audit ADD COLUMN caller_name TEXT NOT NULL DEFAULT '';
ALTER TABLE audit ADD COLUMN organization_id TEXT;
ALTER TABLE audit ADD COLUMN position BIGINT;
ALTER TABLE audit ADD COLUMN hash TEXT;
CREATE UNIQUE INDEX audit_by_position ON audit (position);
