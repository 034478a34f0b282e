-- E-mails: who wants which, what they say, and what is to be sent.

-- Which mails a user wants: all, digest or none.
ALTER TABLE users ADD COLUMN mail_choice TEXT NOT NULL DEFAULT 'all';

-- How far a consumer of the stored events has come.
CREATE TABLE consumers (
    name     TEXT    NOT NULL PRIMARY KEY,
    event_id BIGINT NOT NULL
);

-- The queue, and what became of each mail. Holds references, not texts: a mail is written when it is sent.
CREATE TABLE mails (
    id               INTEGER   NOT NULL PRIMARY KEY AUTOINCREMENT,
    user_id          TEXT      NOT NULL,
    -- Null for a digest, which is about several.
    thread_id        BIGINT,
    kind             TEXT      NOT NULL,
    state            TEXT      NOT NULL,
    -- The message that caused it; later ones are gathered.
    first_message_id BIGINT    NOT NULL,
    -- The last message it told of, once it was sent.
    last_message_id  BIGINT,
    -- How far the person had read when it was sent; null once the person has answered since.
    read_position    BIGINT,
    -- When to send it, or to try again; of one that is being sent, when that may be taken for lost.
    due_at           TIMESTAMP NOT NULL,
    -- The API node that is sending it.
    claimed_by       TEXT,
    attempts         INTEGER   NOT NULL,
    -- Why it was skipped, or what went wrong last.
    reason           TEXT,
    created_at       TIMESTAMP NOT NULL,
    ended_at         TIMESTAMP
);
CREATE INDEX mails_due ON mails (state, due_at);
CREATE INDEX mails_person ON mails (user_id, thread_id, id);
CREATE INDEX mails_ended ON mails (ended_at);

-- The templates that the shop has changed; the others come with the program.
CREATE TABLE mail_templates (
    audience   TEXT      NOT NULL,
    kind       TEXT      NOT NULL,
    language   TEXT      NOT NULL,
    subject    TEXT      NOT NULL,
    text       TEXT      NOT NULL,
    html       TEXT      NOT NULL,
    updated_at TIMESTAMP NOT NULL,
    PRIMARY KEY (audience, kind, language)
);
