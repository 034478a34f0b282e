-- The life of a message: what it said before it was changed, and entries that nobody wrote (closed, reopened).

-- Null: somebody wrote it.
ALTER TABLE messages ADD COLUMN system_entry TEXT;

-- What a message said before each change; for administrators alone.
CREATE TABLE message_versions (
    message_id INTEGER   NOT NULL REFERENCES messages (id),
    -- From 1.
    version    INTEGER   NOT NULL,
    -- As its readers saw it.
    text       TEXT      NOT NULL,
    -- As it was written, where that is something else and is kept.
    original   TEXT,
    flagged    BOOLEAN   NOT NULL,
    written_at TIMESTAMP NOT NULL,
    PRIMARY KEY (message_id, version)
) WITHOUT ROWID;
