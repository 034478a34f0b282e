-- Where the shop wants to be told what happens, and what it was told.

CREATE TABLE webhooks (
    id              VARBINARY(32) NOT NULL PRIMARY KEY,
    url             TEXT NOT NULL,
    description     TEXT,
    -- The names of the events, a JSON list.
    events          TEXT NOT NULL,
    -- Signs; the one before still signs as well until `previous_until`, so that a change needs no pause.
    secret          VARBINARY(128) NOT NULL,
    previous_secret VARBINARY(128),
    previous_until  DATETIME(3),
    status          VARBINARY(32) NOT NULL,
    -- Why it was switched off, if Chaffer did it.
    disabled_reason TEXT,
    -- The events up to this one have been turned into deliveries.
    position        BIGINT NOT NULL,
    created_at      DATETIME(3) NOT NULL,
    updated_at      DATETIME(3) NOT NULL
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE webhook_deliveries (
    id              BIGINT NOT NULL PRIMARY KEY AUTO_INCREMENT,
    webhook_id      VARBINARY(32) NOT NULL,
    -- Names the message to the receiver; the same in every attempt.
    message_id      VARBINARY(64) NOT NULL,
    event           VARBINARY(32) NOT NULL,
    -- Null of a test call. The body is made when it is sent, so it never holds what was deleted meanwhile.
    event_id        BIGINT,
    state           VARBINARY(32) NOT NULL,
    -- What came of each attempt, a JSON list, and how many there were since it was last asked for.
    attempts        TEXT NOT NULL,
    tries           INTEGER NOT NULL,
    -- Null when nothing more is to be tried.
    next_attempt_at DATETIME(3),
    created_at      DATETIME(3) NOT NULL,
    UNIQUE (webhook_id, message_id),
    FOREIGN KEY (webhook_id) REFERENCES webhooks (id) ON DELETE CASCADE
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
CREATE INDEX webhook_deliveries_due ON webhook_deliveries (webhook_id, next_attempt_at);
CREATE INDEX webhook_deliveries_log ON webhook_deliveries (webhook_id, state, id);
CREATE INDEX webhook_deliveries_created ON webhook_deliveries (created_at);
