-- Support threads that wait for an operator. Who has one stands in participants, with the role `assignee`.
CREATE TABLE support_queue (
    thread_id     BIGINT NOT NULL PRIMARY KEY,
    waiting_since DATETIME(3) NOT NULL,
    FOREIGN KEY (thread_id) REFERENCES threads (id)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
INSERT INTO support_queue (thread_id, waiting_since)
SELECT id, created_at FROM threads WHERE subject_type = 'support';
