DROP TABLE settings;
DROP TABLE audit_log;
DROP TABLE message_originals;
DROP TABLE forbidden_words;
DELETE FROM counters WHERE name IN ('audit', 'forbidden_words');
