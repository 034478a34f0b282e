-- Forbidden words, the originals of what they masked, and what that needs: a log of what staff did, and settings.

-- `forbidden_words` is the version of the list: raised with every change, read with every commit, and the id of a new entry.
INSERT INTO counters (name, value) VALUES ('audit', 0), ('forbidden_words', 0);

CREATE TABLE forbidden_words (
    id         INTEGER   NOT NULL PRIMARY KEY,
    kind       TEXT      NOT NULL,
    -- Empty for the kinds that have none of their own.
    phrase     TEXT      NOT NULL,
    action     TEXT      NOT NULL,
    -- A JSON list of domains or numbers.
    exceptions TEXT      NOT NULL,
    -- The phrase without disguise, and its SHA-256: two entries that find the same are one.
    plain      TEXT      NOT NULL,
    plain_hash TEXT      NOT NULL UNIQUE,
    created_at TIMESTAMP NOT NULL,
    updated_at TIMESTAMP NOT NULL
);

-- What people wrote where readers see `***`; kept only where the shop's settings say so.
CREATE TABLE message_originals (
    message_id INTEGER   NOT NULL PRIMARY KEY REFERENCES messages (id),
    text       TEXT      NOT NULL,
    created_at TIMESTAMP NOT NULL
);

-- What the shop's backend and its staff did that others must be able to see later.
CREATE TABLE audit_log (
    id         INTEGER   NOT NULL PRIMARY KEY,
    -- Null: the shop's backend, as itself.
    actor_id   TEXT,
    action     TEXT      NOT NULL,
    -- What it was done to, e.g. `message:42`.
    target     TEXT      NOT NULL,
    -- JSON; never texts of people.
    data       TEXT,
    request_id TEXT      NOT NULL,
    at         TIMESTAMP NOT NULL
);
CREATE INDEX audit_log_action ON audit_log (action, id);
CREATE INDEX audit_log_actor ON audit_log (actor_id, id);

-- Settings that differ from their defaults, as JSON. Who changed what before stands in audit_log.
CREATE TABLE settings (
    name       TEXT      NOT NULL PRIMARY KEY,
    value      TEXT      NOT NULL,
    changed_by TEXT,
    changed_at TIMESTAMP NOT NULL
) WITHOUT ROWID;
