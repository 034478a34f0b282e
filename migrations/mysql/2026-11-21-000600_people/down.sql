DROP INDEX audit_log_target ON audit_log;
ALTER TABLE users DROP COLUMN erased_at;
