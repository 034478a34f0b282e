DROP TABLE search_changes;
DELETE FROM search_blocks;
UPDATE counters SET value = 0 WHERE name = 'search';
