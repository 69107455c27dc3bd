-- What dialects with numeric ids call a project. Deleted ones keep theirs.
ALTER TABLE projects ADD COLUMN number BIGINT;
UPDATE projects SET number = (SELECT COUNT(*) FROM projects p WHERE p.created_at < projects.created_at
    OR (p.created_at = projects.created_at AND p.id <= projects.id));
CREATE UNIQUE INDEX projects_by_number ON projects (number);
