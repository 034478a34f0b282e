-- Where the shop wants to be told what happens, and what it was told.

CREATE TABLE webhooks (
    id              TEXT NOT NULL PRIMARY KEY,
    url             TEXT NOT NULL,
    description     TEXT,
    -- The names of the events, a JSON list.
    events          TEXT NOT NULL,
    -- Signs; the one before still signs as well until `previous_until`, so that a change needs no pause.
    secret          TEXT NOT NULL,
    previous_secret TEXT,
    previous_until  TIMESTAMP,
    status          TEXT NOT NULL,
    -- Why it was switched off, if Chaffer did it.
    disabled_reason TEXT,
    -- The events up to this one have been turned into deliveries.
    position        BIGINT NOT NULL,
    created_at      TIMESTAMP NOT NULL,
    updated_at      TIMESTAMP NOT NULL
) WITHOUT ROWID;

CREATE TABLE webhook_deliveries (
    id              INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    webhook_id      TEXT NOT NULL,
    -- Names the message to the receiver; the same in every attempt.
    message_id      TEXT NOT NULL,
    event           TEXT NOT NULL,
    -- Null of a test call. The body is made when it is sent, so it never holds what was deleted meanwhile.
    event_id        BIGINT,
    state           TEXT NOT NULL,
    -- What came of each attempt, a JSON list, and how many there were since it was last asked for.
    attempts        TEXT NOT NULL,
    tries           INTEGER NOT NULL,
    -- Null when nothing more is to be tried.
    next_attempt_at TIMESTAMP,
    created_at      TIMESTAMP NOT NULL,
    UNIQUE (webhook_id, message_id),
    FOREIGN KEY (webhook_id) REFERENCES webhooks (id) ON DELETE CASCADE
);
CREATE INDEX webhook_deliveries_due ON webhook_deliveries (webhook_id, next_attempt_at);
CREATE INDEX webhook_deliveries_log ON webhook_deliveries (webhook_id, state, id);
CREATE INDEX webhook_deliveries_created ON webhook_deliveries (created_at);
