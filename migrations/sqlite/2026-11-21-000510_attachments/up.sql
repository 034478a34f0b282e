-- Files of messages. Their bytes are in the storage for files, under `file` and `thumbnail`.

INSERT INTO counters (name, value) VALUES ('attachment', 0);

-- So that messages without any, nearly all, cost no look-up.
ALTER TABLE messages ADD COLUMN attachment_count SMALLINT NOT NULL DEFAULT 0;

CREATE TABLE attachments (
    id         INTEGER   NOT NULL PRIMARY KEY,
    -- The user who uploaded it.
    owner_id   TEXT      NOT NULL,
    -- Null until it is sent with a message.
    message_id BIGINT REFERENCES messages (id),
    name       TEXT      NOT NULL,
    size       BIGINT    NOT NULL,
    mime_type  TEXT      NOT NULL,
    width      INTEGER,
    height     INTEGER,
    file       TEXT      NOT NULL,
    thumbnail  TEXT,
    -- The key under which its addresses are signed.
    secret     TEXT      NOT NULL,
    created_at TIMESTAMP NOT NULL,
    -- Its bytes are to be removed, and then this row.
    removed_at TIMESTAMP
);
CREATE INDEX attachments_message ON attachments (message_id, created_at);
CREATE INDEX attachments_owner ON attachments (owner_id, message_id);
CREATE INDEX attachments_removed ON attachments (removed_at);
