-- Addresses that want no mail, by the link in one: those of visitors, who are somebody else each time they come. As the
-- SHA-256 of the address in lower case, which is enough to leave it alone.
CREATE TABLE mail_refusals (
    address_hash TEXT      NOT NULL PRIMARY KEY,
    refused_at   TIMESTAMP NOT NULL
) WITHOUT ROWID;
