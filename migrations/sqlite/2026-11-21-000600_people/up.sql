-- People's rights: who was erased, and what was done to somebody or something.

-- When the person was erased; the row stays so that the id never gets a name again.
ALTER TABLE users ADD COLUMN erased_at TIMESTAMP;

CREATE INDEX audit_log_target ON audit_log (target, id);
