-- Support threads that wait for an operator. Who has one stands in participants, with the role `assignee`.
CREATE TABLE support_queue (
    thread_id     INTEGER   NOT NULL PRIMARY KEY REFERENCES threads (id),
    waiting_since TIMESTAMP NOT NULL
);
INSERT INTO support_queue (thread_id, waiting_since)
SELECT id, created_at FROM threads WHERE subject_type = 'support';
