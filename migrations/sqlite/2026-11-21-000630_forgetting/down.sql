DROP INDEX mails_thread;
DROP INDEX audit_log_at;
