DROP TABLE support_queue;
