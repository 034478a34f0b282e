-- Work in pieces that a stop cut short is found and gone on with. Who was erased before is gone through once more.
ALTER TABLE users ADD COLUMN erasing_since DATETIME(3);
UPDATE users SET erasing_since = erased_at WHERE erased_at IS NOT NULL;
CREATE INDEX users_erasing ON users (erasing_since);
ALTER TABLE webhooks ADD COLUMN deleted_at DATETIME(3);
