DROP INDEX audit_log_target;
ALTER TABLE users DROP COLUMN erased_at;
