-- Files of messages. Their bytes are in the storage for files, under `file` and `thumbnail`.

INSERT INTO counters (name, value) VALUES ('attachment', 0);

-- So that messages without any, nearly all, cost no look-up.
ALTER TABLE messages ADD COLUMN attachment_count SMALLINT NOT NULL DEFAULT 0;

CREATE TABLE attachments (
    id         BIGINT NOT NULL PRIMARY KEY,
    -- The user who uploaded it.
    owner_id   VARBINARY(128) NOT NULL,
    -- Null until it is sent with a message.
    message_id BIGINT,
    name       TEXT NOT NULL,
    size       BIGINT NOT NULL,
    mime_type  VARBINARY(128) NOT NULL,
    width      INT,
    height     INT,
    file       VARBINARY(64) NOT NULL,
    thumbnail  VARBINARY(64),
    -- The key under which its addresses are signed.
    secret     VARBINARY(64) NOT NULL,
    created_at DATETIME(3) NOT NULL,
    -- Its bytes are to be removed, and then this row.
    removed_at DATETIME(3),
    FOREIGN KEY (message_id) REFERENCES messages (id)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
CREATE INDEX attachments_message ON attachments (message_id, created_at);
CREATE INDEX attachments_owner ON attachments (owner_id, message_id);
CREATE INDEX attachments_removed ON attachments (removed_at);
