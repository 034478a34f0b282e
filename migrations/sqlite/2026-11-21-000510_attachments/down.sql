DROP TABLE attachments;
ALTER TABLE messages DROP COLUMN attachment_count;
DELETE FROM counters WHERE name = 'attachment';
