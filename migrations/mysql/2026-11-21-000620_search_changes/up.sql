-- Messages that say something else, or nothing any more, since they came into the search index: `indexed` is the text by which it
-- holds them. The index follows behind the posts.
CREATE TABLE search_changes (
    message_id BIGINT NOT NULL PRIMARY KEY,
    indexed    TEXT   NOT NULL
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
-- Made anew: very long messages have other tokens than before, and words that nobody says any more are in it no longer.
TRUNCATE TABLE search_blocks;
UPDATE counters SET value = 0 WHERE name = 'search';
