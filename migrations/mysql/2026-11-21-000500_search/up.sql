-- The search index: which messages of an epoch (65,536 ids) have a token. `ids` are the last sixteen bits of their ids: a list of
-- 16-bit numbers, or a bitmap of 8,192 bytes. Derived from the messages; `search` is the last message that is in it.
CREATE TABLE search_blocks (
    epoch BIGINT NOT NULL,
    token VARBINARY(160) NOT NULL,
    ids   BLOB NOT NULL,
    PRIMARY KEY (epoch, token)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
INSERT INTO counters (name, value) VALUES ('search', 0);
