DELETE FROM webhooks WHERE deleted_at IS NOT NULL;
ALTER TABLE webhooks DROP COLUMN deleted_at;
DROP INDEX users_erasing ON users;
ALTER TABLE users DROP COLUMN erasing_since;
