DROP TABLE message_versions;
ALTER TABLE messages DROP COLUMN system_entry;
