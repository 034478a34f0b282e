DROP TABLE search_blocks;
DELETE FROM counters WHERE name = 'search';
