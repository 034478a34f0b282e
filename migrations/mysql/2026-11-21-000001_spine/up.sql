-- The spine: people, threads, messages, and the events that they cause.
-- Ids compare as bytes: VARBINARY, since the collations of MariaDB and MySQL fold case or trailing spaces and
-- have no name in common that does not. Times are UTC with milliseconds.

-- The numbers given out last. The single row of a name is raised inside the transaction that uses the numbers,
-- so ids follow the order of the commits without a gap. `event_pruned` is the last event that is kept no more.
CREATE TABLE counters (
    name  VARBINARY(32) NOT NULL PRIMARY KEY,
    value BIGINT NOT NULL
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
INSERT INTO counters (name, value) VALUES ('event', 0), ('event_pruned', 0), ('message', 0), ('thread', 0);

-- The shop's backends: SHA-256 of each key, never the key.
CREATE TABLE api_keys (
    hash       VARBINARY(64) NOT NULL PRIMARY KEY,
    name       VARBINARY(64) NOT NULL,
    created_at DATETIME(3) NOT NULL,
    revoked_at DATETIME(3)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE vendors (
    id                      VARBINARY(128) NOT NULL PRIMARY KEY,
    name                    TEXT NOT NULL,
    status                  VARBINARY(32) NOT NULL,
    plan_includes_messaging BOOLEAN   NOT NULL,
    avatar_url              TEXT,
    created_at              DATETIME(3) NOT NULL,
    updated_at              DATETIME(3) NOT NULL
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE users (
    id              VARBINARY(128) NOT NULL PRIMARY KEY,
    role            VARBINARY(32) NOT NULL,
    name            TEXT NOT NULL,
    email           TEXT,
    avatar_url      TEXT,
    phone           TEXT,
    locale          TEXT,
    vendor_id       VARBINARY(128),
    root            BOOLEAN   NOT NULL,
    manage_messages BOOLEAN   NOT NULL,
    profiles        TEXT NOT NULL,
    -- The sum of this user's unread_count in read_states, kept so that badges need no counting.
    unread_total    BIGINT    NOT NULL DEFAULT 0,
    -- Tokens issued at or before this moment count no longer.
    revoked_before  DATETIME(3),
    created_at      DATETIME(3) NOT NULL,
    updated_at      DATETIME(3) NOT NULL,
    FOREIGN KEY (vendor_id) REFERENCES vendors (id)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
CREATE INDEX users_role ON users (role);
CREATE INDEX users_revoked ON users (revoked_before);

CREATE TABLE threads (
    id                BIGINT    NOT NULL PRIMARY KEY,
    subject_type      VARBINARY(32) NOT NULL,
    subject_id        VARBINARY(128) NOT NULL,
    subject_title     TEXT,
    subject_url       TEXT,
    subject_image_url TEXT,
    storefront_id     VARBINARY(128),
    status            VARBINARY(32) NOT NULL,
    -- Customer and subject in one text while the thread is open, null afterwards: one open thread for each.
    open_key          VARBINARY(64) UNIQUE,
    flagged           BOOLEAN   NOT NULL,
    last_message_id   BIGINT,
    -- The event that moved the thread to the top of the lists last.
    activity          BIGINT    NOT NULL,
    created_at        DATETIME(3) NOT NULL,
    updated_at        DATETIME(3) NOT NULL
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
CREATE INDEX threads_activity ON threads (activity);

-- Who is in a thread: users, vendors, and later visitors, contacts and bridges.
CREATE TABLE participants (
    thread_id            BIGINT    NOT NULL,
    kind                 VARBINARY(32) NOT NULL,
    participant_id       VARBINARY(128) NOT NULL,
    side                 VARBINARY(32) NOT NULL,
    role                 VARBINARY(32) NOT NULL,
    joined_at            DATETIME(3) NOT NULL,
    left_at              DATETIME(3),
    -- How far this participant has read; of a vendor, how far any of its admins has.
    last_read_message_id BIGINT    NOT NULL DEFAULT 0,
    -- A copy of threads.activity, so that one person's list is read in order from the index.
    activity             BIGINT    NOT NULL,
    PRIMARY KEY (thread_id, kind, participant_id),
    FOREIGN KEY (thread_id) REFERENCES threads (id)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
CREATE INDEX participants_activity ON participants (kind, participant_id, activity);

CREATE TABLE messages (
    id           BIGINT    NOT NULL PRIMARY KEY,
    thread_id    BIGINT    NOT NULL,
    author_kind  VARBINARY(32) NOT NULL,
    author_id    VARBINARY(128) NOT NULL,
    side         VARBINARY(32) NOT NULL,
    text         TEXT NOT NULL,
    reply_to     BIGINT,
    -- The sender's own id, once for ever, and what was sent with it.
    client_id    VARBINARY(200),
    request_hash VARBINARY(64),
    flagged      BOOLEAN   NOT NULL,
    created_at   DATETIME(3) NOT NULL,
    edited_at    DATETIME(3),
    deleted_at   DATETIME(3),
    -- When the other side read it.
    read_at      DATETIME(3),
    FOREIGN KEY (thread_id) REFERENCES threads (id)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
CREATE INDEX messages_thread ON messages (thread_id, id);
CREATE UNIQUE INDEX messages_client_id ON messages (author_kind, author_id, client_id);

-- How far each reader has read each thread, and how much is left.
CREATE TABLE read_states (
    kind                 VARBINARY(32)  NOT NULL,
    reader_id            VARBINARY(128) NOT NULL,
    thread_id            BIGINT         NOT NULL,
    last_read_message_id BIGINT         NOT NULL,
    unread_count         BIGINT         NOT NULL,
    -- The thread's activity while something is unread, null otherwise: the index holds nothing but the unread.
    unread_activity      BIGINT,
    PRIMARY KEY (kind, reader_id, thread_id),
    FOREIGN KEY (thread_id) REFERENCES threads (id)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
CREATE INDEX read_states_unread ON read_states (kind, reader_id, unread_activity);
CREATE INDEX read_states_thread ON read_states (thread_id);

-- What happened, in the order of the commits. Holds references, not texts: an event is rendered when it is
-- read, so a replay never brings back what was deleted.
CREATE TABLE events (
    id         BIGINT    NOT NULL PRIMARY KEY,
    name       VARBINARY(64) NOT NULL,
    topics     MEDIUMTEXT NOT NULL,
    thread_id  BIGINT,
    message_id BIGINT,
    data       TEXT,
    request_id VARBINARY(64),
    at         DATETIME(3) NOT NULL
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- events.topics by topic, for the feed of one person.
CREATE TABLE event_topics (
    topic    VARBINARY(160) NOT NULL,
    event_id BIGINT NOT NULL,
    PRIMARY KEY (topic, event_id)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
CREATE INDEX event_topics_event ON event_topics (event_id);

-- First answers to calls made with an Idempotency-Key.
CREATE TABLE idempotency_keys (
    caller          VARBINARY(160) NOT NULL,
    idempotency_key VARBINARY(200) NOT NULL,
    request_hash    VARBINARY(64) NOT NULL,
    status          INTEGER   NOT NULL,
    answer          MEDIUMTEXT NOT NULL,
    created_at      DATETIME(3) NOT NULL,
    PRIMARY KEY (caller, idempotency_key)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
CREATE INDEX idempotency_keys_created ON idempotency_keys (created_at);
