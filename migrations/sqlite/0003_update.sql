-- Services of the template set that are off, and what an update is to make of a project.

ALTER TABLE projects ADD COLUMN services_off TEXT NOT NULL DEFAULT '[]';
ALTER TABLE operations ADD COLUMN update_to TEXT;
