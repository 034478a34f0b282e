-- Work in pieces that a stop cut short is found and gone on with. Who was erased before is gone through once more.
ALTER TABLE users ADD COLUMN erasing_since TIMESTAMP;
UPDATE users SET erasing_since = erased_at WHERE erased_at IS NOT NULL;
CREATE INDEX users_erasing ON users (erasing_since) WHERE erasing_since IS NOT NULL;
ALTER TABLE webhooks ADD COLUMN deleted_at TIMESTAMP;

-- SQLite would take an index of all rows for the files of several messages, which ask for those that are not removed.
DROP INDEX attachments_removed;
CREATE INDEX attachments_removed ON attachments (removed_at) WHERE removed_at IS NOT NULL;
-- What somebody wrote for a vendor stands in no list of threads: the vendor is in the thread, not its author.
DROP INDEX messages_client_id;
CREATE UNIQUE INDEX messages_client_id ON messages (author_kind, author_id, client_id) WHERE client_id IS NOT NULL OR side = 'vendor';
