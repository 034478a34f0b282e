-- The spine: people, threads, messages, and the events that they cause.
-- Ids compare as bytes (SQLite's default). Times are UTC texts with milliseconds.

-- The numbers given out last. The single row of a name is raised inside the transaction that uses the numbers,
-- so ids follow the order of the commits without a gap. `event_pruned` is the last event that is kept no more.
CREATE TABLE counters (
    name  TEXT   NOT NULL PRIMARY KEY,
    value BIGINT NOT NULL
) WITHOUT ROWID;
INSERT INTO counters (name, value) VALUES ('event', 0), ('event_pruned', 0), ('message', 0), ('thread', 0);

-- The shop's backends: SHA-256 of each key, never the key.
CREATE TABLE api_keys (
    hash       TEXT      NOT NULL PRIMARY KEY,
    name       TEXT      NOT NULL,
    created_at TIMESTAMP NOT NULL,
    revoked_at TIMESTAMP
) WITHOUT ROWID;

CREATE TABLE vendors (
    id                      TEXT      NOT NULL PRIMARY KEY,
    name                    TEXT      NOT NULL,
    status                  TEXT      NOT NULL,
    plan_includes_messaging BOOLEAN   NOT NULL,
    avatar_url              TEXT,
    created_at              TIMESTAMP NOT NULL,
    updated_at              TIMESTAMP NOT NULL
) WITHOUT ROWID;

CREATE TABLE users (
    id              TEXT      NOT NULL PRIMARY KEY,
    role            TEXT      NOT NULL,
    name            TEXT      NOT NULL,
    email           TEXT,
    avatar_url      TEXT,
    phone           TEXT,
    locale          TEXT,
    vendor_id       TEXT REFERENCES vendors (id),
    root            BOOLEAN   NOT NULL,
    manage_messages BOOLEAN   NOT NULL,
    profiles        TEXT      NOT NULL,
    -- The sum of this user's unread_count in read_states, kept so that badges need no counting.
    unread_total    BIGINT    NOT NULL DEFAULT 0,
    -- Tokens issued at or before this moment count no longer.
    revoked_before  TIMESTAMP,
    created_at      TIMESTAMP NOT NULL,
    updated_at      TIMESTAMP NOT NULL
) WITHOUT ROWID;
CREATE INDEX users_vendor ON users (vendor_id);
CREATE INDEX users_role ON users (role);
CREATE INDEX users_revoked ON users (revoked_before);

CREATE TABLE threads (
    id                INTEGER   NOT NULL PRIMARY KEY,
    subject_type      TEXT      NOT NULL,
    subject_id        TEXT      NOT NULL,
    subject_title     TEXT,
    subject_url       TEXT,
    subject_image_url TEXT,
    storefront_id     TEXT,
    status            TEXT      NOT NULL,
    -- Customer and subject in one text while the thread is open, null afterwards: one open thread for each.
    open_key          TEXT UNIQUE,
    flagged           BOOLEAN   NOT NULL,
    last_message_id   BIGINT,
    -- The event that moved the thread to the top of the lists last.
    activity          BIGINT    NOT NULL,
    created_at        TIMESTAMP NOT NULL,
    updated_at        TIMESTAMP NOT NULL
);
CREATE INDEX threads_activity ON threads (activity);

-- Who is in a thread: users, vendors, and later visitors, contacts and bridges.
CREATE TABLE participants (
    thread_id            BIGINT    NOT NULL REFERENCES threads (id),
    kind                 TEXT      NOT NULL,
    participant_id       TEXT      NOT NULL,
    side                 TEXT      NOT NULL,
    role                 TEXT      NOT NULL,
    joined_at            TIMESTAMP NOT NULL,
    left_at              TIMESTAMP,
    -- How far this participant has read; of a vendor, how far any of its admins has.
    last_read_message_id BIGINT    NOT NULL DEFAULT 0,
    -- A copy of threads.activity, so that one person's list is read in order from the index.
    activity             BIGINT    NOT NULL,
    PRIMARY KEY (thread_id, kind, participant_id)
) WITHOUT ROWID;
CREATE INDEX participants_activity ON participants (kind, participant_id, activity);

CREATE TABLE messages (
    id           INTEGER   NOT NULL PRIMARY KEY,
    thread_id    BIGINT    NOT NULL REFERENCES threads (id),
    author_kind  TEXT      NOT NULL,
    author_id    TEXT      NOT NULL,
    side         TEXT      NOT NULL,
    text         TEXT      NOT NULL,
    reply_to     BIGINT,
    -- The sender's own id, once for ever, and what was sent with it.
    client_id    TEXT,
    request_hash TEXT,
    flagged      BOOLEAN   NOT NULL,
    created_at   TIMESTAMP NOT NULL,
    edited_at    TIMESTAMP,
    deleted_at   TIMESTAMP,
    -- When the other side read it.
    read_at      TIMESTAMP
);
CREATE INDEX messages_thread ON messages (thread_id, id);
CREATE UNIQUE INDEX messages_client_id ON messages (author_kind, author_id, client_id);

-- How far each reader has read each thread, and how much is left.
CREATE TABLE read_states (
    kind                 TEXT   NOT NULL,
    reader_id            TEXT   NOT NULL,
    thread_id            BIGINT NOT NULL REFERENCES threads (id),
    last_read_message_id BIGINT NOT NULL,
    unread_count         BIGINT NOT NULL,
    -- The thread's activity while something is unread, null otherwise: the index holds nothing but the unread.
    unread_activity      BIGINT,
    PRIMARY KEY (kind, reader_id, thread_id)
) WITHOUT ROWID;
CREATE INDEX read_states_unread ON read_states (kind, reader_id, unread_activity);
CREATE INDEX read_states_thread ON read_states (thread_id);

-- What happened, in the order of the commits. Holds references, not texts: an event is rendered when it is
-- read, so a replay never brings back what was deleted.
CREATE TABLE events (
    id         INTEGER   NOT NULL PRIMARY KEY,
    name       TEXT      NOT NULL,
    topics     TEXT      NOT NULL,
    thread_id  BIGINT,
    message_id BIGINT,
    data       TEXT,
    request_id TEXT,
    at         TIMESTAMP NOT NULL
);

-- events.topics by topic, for the feed of one person.
CREATE TABLE event_topics (
    topic    TEXT   NOT NULL,
    event_id BIGINT NOT NULL,
    PRIMARY KEY (topic, event_id)
) WITHOUT ROWID;
CREATE INDEX event_topics_event ON event_topics (event_id);

-- First answers to calls made with an Idempotency-Key.
CREATE TABLE idempotency_keys (
    caller          TEXT      NOT NULL,
    idempotency_key TEXT      NOT NULL,
    request_hash    TEXT      NOT NULL,
    status          INTEGER   NOT NULL,
    answer          TEXT      NOT NULL,
    created_at      TIMESTAMP NOT NULL,
    PRIMARY KEY (caller, idempotency_key)
) WITHOUT ROWID;
CREATE INDEX idempotency_keys_created ON idempotency_keys (created_at);
