DROP TABLE mail_refusals;
