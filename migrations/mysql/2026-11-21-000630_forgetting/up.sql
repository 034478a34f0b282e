-- What is forgotten with its thread, or by its age, is found without walking over the rest.
CREATE INDEX mails_thread ON mails (thread_id);
CREATE INDEX audit_log_at ON audit_log (at);
