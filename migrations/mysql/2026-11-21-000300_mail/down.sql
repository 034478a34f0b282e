DROP TABLE mail_templates;
DROP TABLE mails;
DROP TABLE consumers;
ALTER TABLE users DROP COLUMN mail_choice;
