-- What another version of a plugin had done to a project, while a newer one is applied to it: JSON, or NULL.
ALTER TABLE hook_outcomes ADD COLUMN before TEXT;
