-- The life of a message: what it said before it was changed, and entries that nobody wrote (closed, reopened).

-- Null: somebody wrote it.
ALTER TABLE messages ADD COLUMN system_entry VARBINARY(32);

-- What a message said before each change; for administrators alone.
CREATE TABLE message_versions (
    message_id BIGINT NOT NULL,
    -- From 1.
    version    INT NOT NULL,
    -- As its readers saw it.
    text       TEXT NOT NULL,
    -- As it was written, where that is something else and is kept.
    original   TEXT,
    flagged    BOOLEAN NOT NULL,
    written_at DATETIME(3) NOT NULL,
    PRIMARY KEY (message_id, version),
    FOREIGN KEY (message_id) REFERENCES messages (id)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
