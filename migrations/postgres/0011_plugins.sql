-- Which plugins run for a project and with what options, a JSON object (daemon/src/domain/plugins.rs).
ALTER TABLE projects ADD COLUMN plugins TEXT NOT NULL DEFAULT '{}';

-- What post-create plugins did to a project, each written before it is called (`begun`) and after: a resumed operation does
-- not repeat what is done, and what takes it back knows what there is to take back, and with which code.
CREATE TABLE hook_outcomes (
    project_id  TEXT NOT NULL REFERENCES projects (id),
    plugin      TEXT NOT NULL,
    digest      TEXT NOT NULL,
    position    BIGINT NOT NULL,
    state       TEXT NOT NULL,
    changed     BIGINT NOT NULL,
    summary     TEXT NOT NULL,
    at          BIGINT NOT NULL,
    PRIMARY KEY (project_id, plugin)
);

-- What plugins remember of a project, base64. It goes with the project.
CREATE TABLE plugin_memory (
    project_id  TEXT NOT NULL REFERENCES projects (id),
    plugin      TEXT NOT NULL,
    name        TEXT NOT NULL,
    value       TEXT NOT NULL,
    PRIMARY KEY (project_id, plugin, name)
);

-- Who has taken a message already, names with blanks between: `webhook`, or a plugin's with `plugin:` before it.
ALTER TABLE notices ADD COLUMN taken_by TEXT NOT NULL DEFAULT '';
