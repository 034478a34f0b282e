DROP INDEX mails_thread ON mails;
DROP INDEX audit_log_at ON audit_log;
