-- Forbidden words, the originals of what they masked, and what that needs: a log of what staff did, and settings.

-- `forbidden_words` is the version of the list: raised with every change, read with every commit, and the id of a new entry.
INSERT INTO counters (name, value) VALUES ('audit', 0), ('forbidden_words', 0);

CREATE TABLE forbidden_words (
    id         BIGINT NOT NULL PRIMARY KEY,
    kind       VARBINARY(32) NOT NULL,
    -- Empty for the kinds that have none of their own.
    phrase     TEXT      NOT NULL,
    action     VARBINARY(64) NOT NULL,
    -- A JSON list of domains or numbers.
    exceptions MEDIUMTEXT NOT NULL,
    -- The phrase without disguise, and its SHA-256: two entries that find the same are one.
    plain      TEXT      NOT NULL,
    plain_hash VARBINARY(64) NOT NULL UNIQUE,
    created_at DATETIME(3) NOT NULL,
    updated_at DATETIME(3) NOT NULL
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- What people wrote where readers see `***`; kept only where the shop's settings say so.
CREATE TABLE message_originals (
    message_id BIGINT NOT NULL PRIMARY KEY,
    text       TEXT      NOT NULL,
    created_at DATETIME(3) NOT NULL,
    FOREIGN KEY (message_id) REFERENCES messages (id)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- What the shop's backend and its staff did that others must be able to see later.
CREATE TABLE audit_log (
    id         BIGINT NOT NULL PRIMARY KEY,
    -- Null: the shop's backend, as itself.
    actor_id   VARBINARY(128),
    action     VARBINARY(64) NOT NULL,
    -- What it was done to, e.g. `message:42`.
    target     VARBINARY(160) NOT NULL,
    -- JSON; never texts of people.
    data       TEXT,
    request_id VARBINARY(64) NOT NULL,
    at         DATETIME(3) NOT NULL
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
CREATE INDEX audit_log_action ON audit_log (action, id);
CREATE INDEX audit_log_actor ON audit_log (actor_id, id);

-- Settings that differ from their defaults, as JSON. Who changed what before stands in audit_log.
CREATE TABLE settings (
    name       VARBINARY(64) NOT NULL PRIMARY KEY,
    value      TEXT      NOT NULL,
    changed_by VARBINARY(128),
    changed_at DATETIME(3) NOT NULL
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
