-- What an operation is about, who asked for it and why it was cancelled; which operation rendered the stack that a
-- project has now (its images are pinned there).

ALTER TABLE operations ADD COLUMN services TEXT NOT NULL DEFAULT '[]';
ALTER TABLE operations ADD COLUMN requested_by TEXT NOT NULL DEFAULT '';
ALTER TABLE operations ADD COLUMN cancelled TEXT;

ALTER TABLE projects ADD COLUMN stack_operation TEXT;
UPDATE projects SET stack_operation = (
    SELECT id FROM operations
    WHERE operations.project_id = projects.id AND kind = 'create' AND state = 'succeeded'
    ORDER BY created_at DESC LIMIT 1
);
