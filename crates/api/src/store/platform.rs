//! The shop platform's own tables of customer-vendor messages, as CS-Cart Multi-Vendor's add-on "vendor communication"
//! makes them, and of the people they name. They are only read. `docs/moving-in.md` says what is assumed of them.
//!
//! The add-on's tables are MyISAM by default: no snapshot holds there, so everything is read along keys, page by page.

use std::collections::HashMap;

use diesel::connection::SimpleConnection;
use diesel::mysql::MysqlConnection;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};

use super::{DatabaseUrl, StoreError};

const THREADS: &str = "vendor_communications";
const MESSAGES: &str = "vendor_communication_messages";
/// The tables that it reads; the first two must be there.
const TABLES: [&str; 6] =
    [THREADS, MESSAGES, "users", "companies", "company_descriptions", "product_descriptions"];

/// A conversation, as the platform keeps it. Texts may be HTML.
#[derive(Debug, Clone, PartialEq, Eq, QueryableByName)]
pub struct PlatformThread {
    #[diesel(sql_type = BigInt)]
    pub thread_id: i64,
    /// The customer; of a vendor's talk with the marketplace, who began it.
    #[diesel(sql_type = BigInt)]
    pub user_id: i64,
    #[diesel(sql_type = BigInt)]
    pub company_id: i64,
    #[diesel(sql_type = BigInt)]
    pub object_id: i64,
    /// `P` product, `C` company, `O` order, or empty.
    #[diesel(sql_type = Text)]
    pub object_type: String,
    /// `N` has something new, `V` was viewed, `D` was deleted.
    #[diesel(sql_type = Text)]
    pub status: String,
    /// Seconds since 1970, as all times here.
    #[diesel(sql_type = BigInt)]
    pub created_at: i64,
    #[diesel(sql_type = BigInt)]
    pub last_updated: i64,
    #[diesel(sql_type = Text)]
    pub subject: String,
    /// `vendor_to_customer`, `vendor_to_admin`, or empty in older versions, which know the first alone.
    #[diesel(sql_type = Text)]
    pub communication_type: String,
    /// 0: none.
    #[diesel(sql_type = BigInt)]
    pub storefront_id: i64,
}

/// One message of it.
#[derive(Debug, Clone, PartialEq, Eq, QueryableByName)]
pub struct PlatformMessage {
    #[diesel(sql_type = BigInt)]
    pub message_id: i64,
    #[diesel(sql_type = BigInt)]
    pub user_id: i64,
    /// `C` customer, `V` vendor, `A` administrator.
    #[diesel(sql_type = Text)]
    pub user_type: String,
    #[diesel(sql_type = BigInt)]
    pub timestamp: i64,
    #[diesel(sql_type = Text)]
    pub message: String,
}

/// A user, as far as Chaffer needs one.
#[derive(Debug, Clone, PartialEq, Eq, QueryableByName)]
pub struct PlatformUser {
    #[diesel(sql_type = BigInt)]
    pub user_id: i64,
    #[diesel(sql_type = Text)]
    pub user_type: String,
    #[diesel(sql_type = BigInt)]
    pub company_id: i64,
    #[diesel(sql_type = Text)]
    pub firstname: String,
    #[diesel(sql_type = Text)]
    pub lastname: String,
    #[diesel(sql_type = Text)]
    pub email: String,
    #[diesel(sql_type = Text)]
    pub lang_code: String,
}

/// A company, or a product.
#[derive(Debug, Clone, PartialEq, Eq, QueryableByName)]
pub struct PlatformName {
    #[diesel(sql_type = BigInt)]
    pub id: i64,
    #[diesel(sql_type = Text)]
    pub name: String,
    /// `D`: disabled.
    #[diesel(sql_type = Text)]
    pub status: String,
}

/// How much there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, QueryableByName)]
pub struct PlatformSize {
    #[diesel(sql_type = BigInt)]
    pub threads: i64,
    #[diesel(sql_type = BigInt)]
    pub messages: i64,
    #[diesel(sql_type = BigInt)]
    pub last_thread: i64,
}

#[derive(QueryableByName)]
struct Number {
    #[diesel(sql_type = BigInt)]
    number: i64,
}

/// A connection to the shop's database that cannot write.
pub struct Platform {
    connection: MysqlConnection,
    prefix: String,
    /// The columns of each table that is there, without the prefix.
    columns: HashMap<String, Vec<String>>,
}

impl Platform {
    /// Connects and looks which tables there are.
    ///
    /// # Errors
    /// When there is no such server, or the add-on's tables are not in the database.
    pub fn open(url: &str, prefix: &str) -> Result<Self, StoreError> {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if !prefix.chars().all(is_plain) {
            return Err(StoreError::Platform(format!(
                "--table-prefix: letters, digits and underscores, not {prefix:?}"
            )));
        }
        let DatabaseUrl::Mysql(url) = DatabaseUrl::parse(url).map_err(|_| {
            StoreError::Platform("expected mysql://user:password@host:port/database".into())
        })?
        else {
            return Err(StoreError::Platform("the shop's database is a MySQL or MariaDB".into()));
        };
        let mut connection = MysqlConnection::establish(&url).map_err(|error| {
            StoreError::Platform(format!("cannot connect to the shop's database: {error}"))
        })?;
        // diesel asks for utf8mb4: the server turns whatever the columns have into it.
        connection.batch_execute("SET SESSION TRANSACTION READ ONLY")?;
        let mut platform = Self { connection, prefix: prefix.to_owned(), columns: HashMap::new() };
        platform.describe()?;
        Ok(platform)
    }

    fn describe(&mut self) -> Result<(), StoreError> {
        #[derive(QueryableByName)]
        struct Described {
            #[diesel(sql_type = Text)]
            place: String,
            #[diesel(sql_type = Text)]
            name: String,
        }
        let sql = "SELECT CONVERT(table_name USING utf8mb4) AS place, CONVERT(column_name USING utf8mb4) AS name \
                   FROM information_schema.columns WHERE table_schema = DATABASE() AND table_name = ?";
        for table in TABLES {
            let found: Vec<Described> = diesel::sql_query(sql)
                .bind::<Text, _>(format!("{}{table}", self.prefix))
                .load(&mut self.connection)?;
            if !found.is_empty() {
                let names = found.into_iter().map(|it| it.name).collect();
                self.columns.insert(table.to_owned(), names);
            }
        }
        for table in [THREADS, MESSAGES] {
            if self.columns.contains_key(table) {
                continue;
            }
            let found: Vec<Described> = diesel::sql_query(
                "SELECT CONVERT(table_name USING utf8mb4) AS place, '' AS name FROM information_schema.tables \
                 WHERE table_schema = DATABASE() AND table_name LIKE ?",
            )
            .bind::<Text, _>(format!("%{table}"))
            .load(&mut self.connection)?;
            let hint = match found.first() {
                Some(Described { place, .. }) => format!(
                    "there is {place}: is it --table-prefix {}?",
                    place.strip_suffix(table).unwrap_or_default()
                ),
                None => {
                    "no table's name ends so: is it the shop's database, and may this user read it?"
                        .into()
                }
            };
            return Err(StoreError::Platform(format!(
                "the shop's database has no table {}{table}; {hint}",
                self.prefix
            )));
        }
        for (table, needed) in [
            (THREADS, ["thread_id", "user_id", "company_id", "status"].as_slice()),
            (
                MESSAGES,
                &["message_id", "thread_id", "user_id", "user_type", "timestamp", "message"],
            ),
        ] {
            if let Some(missing) = needed.iter().find(|column| !self.has(table, column)) {
                return Err(StoreError::Platform(format!(
                    "{}{table} has no column {missing}: it is another version's, which this importer does not know",
                    self.prefix
                )));
            }
        }
        Ok(())
    }

    fn has(&self, table: &str, column: &str) -> bool {
        let columns = self.columns.get(table);
        columns.is_some_and(|it| it.iter().any(|name| name.eq_ignore_ascii_case(column)))
    }

    /// A number of a table, 0 where older versions have no such column.
    fn number(&self, table: &str, column: &str) -> String {
        if self.has(table, column) {
            format!("CAST(COALESCE(t.`{column}`, 0) AS SIGNED) AS `{column}`")
        } else {
            format!("CAST(0 AS SIGNED) AS `{column}`")
        }
    }

    /// A text of a table, empty where older versions have no such column.
    fn text(&self, table: &str, column: &str) -> String {
        if self.has(table, column) {
            format!("COALESCE(CONVERT(t.`{column}` USING utf8mb4), '') AS `{column}`")
        } else {
            format!("CONVERT('' USING utf8mb4) AS `{column}`")
        }
    }

    fn columns(&self, table: &str, numbers: &[&str], texts: &[&str]) -> String {
        let numbers = numbers.iter().map(|column| self.number(table, column));
        let texts = texts.iter().map(|column| self.text(table, column));
        numbers.chain(texts).collect::<Vec<_>>().join(", ")
    }

    fn load<T>(&mut self, sql: String) -> Result<Vec<T>, StoreError>
    where
        T: QueryableByName<diesel::mysql::Mysql> + 'static,
    {
        Ok(diesel::sql_query(sql).load(&mut self.connection)?)
    }

    /// How much there is to be moved.
    ///
    /// # Errors
    /// When the shop's database does not answer.
    pub fn size(&mut self) -> Result<PlatformSize, StoreError> {
        let prefix = &self.prefix;
        let sql = format!(
            "SELECT (SELECT COUNT(*) FROM `{prefix}{THREADS}`) AS threads, \
             (SELECT COUNT(*) FROM `{prefix}{MESSAGES}`) AS messages, \
             (SELECT CAST(COALESCE(MAX(thread_id), 0) AS SIGNED) FROM `{prefix}{THREADS}`) AS last_thread"
        );
        let found = self.load::<PlatformSize>(sql)?.into_iter().next();
        found.ok_or_else(|| StoreError::Platform("the shop's database counts nothing".into()))
    }

    /// How many storefronts conversations name.
    ///
    /// # Errors
    /// When the shop's database does not answer.
    pub fn count_storefronts(&mut self) -> Result<i64, StoreError> {
        if !self.has(THREADS, "storefront_id") {
            return Ok(0);
        }
        let sql = format!(
            "SELECT COUNT(DISTINCT NULLIF(t.storefront_id, 0)) AS number FROM `{}{THREADS}` t",
            self.prefix
        );
        Ok(self.load::<Number>(sql)?.first().map_or(0, |it| it.number))
    }

    /// The next conversations, by their numbers.
    ///
    /// # Errors
    /// When the shop's database does not answer.
    pub fn threads_after(
        &mut self,
        last: i64,
        limit: usize,
    ) -> Result<Vec<PlatformThread>, StoreError> {
        let numbers = [
            "thread_id",
            "user_id",
            "company_id",
            "object_id",
            "created_at",
            "last_updated",
            "storefront_id",
        ];
        let texts = ["object_type", "status", "subject", "communication_type"];
        let columns = self.columns(THREADS, &numbers, &texts);
        self.load(format!(
            "SELECT {columns} FROM `{}{THREADS}` t WHERE t.thread_id > {last} ORDER BY t.thread_id LIMIT {limit}",
            self.prefix
        ))
    }

    /// The next messages of a conversation in the order of their time, after that time and number.
    ///
    /// # Errors
    /// When the shop's database does not answer.
    pub fn messages_after(
        &mut self,
        thread: i64,
        (time, number): (i64, i64),
        limit: usize,
    ) -> Result<Vec<PlatformMessage>, StoreError> {
        let columns = self.columns(
            MESSAGES,
            &["message_id", "user_id", "timestamp"],
            &["user_type", "message"],
        );
        // As it is read: a message without a time, or with one before 1970, is one as well.
        let at = "GREATEST(CAST(COALESCE(t.timestamp, 0) AS SIGNED), 0)";
        self.load(format!(
            "SELECT {columns} FROM `{}{MESSAGES}` t WHERE t.thread_id = {thread} \
             AND ({at} > {time} OR ({at} = {time} AND t.message_id > {number})) \
             ORDER BY {at}, t.message_id LIMIT {limit}",
            self.prefix
        ))
    }

    /// The numbers that stand at several messages, as in a table that has lost its key.
    ///
    /// # Errors
    /// When the shop's database does not answer.
    pub fn repeated_messages(&mut self) -> Result<Vec<i64>, StoreError> {
        let sql = format!(
            "SELECT CAST(t.message_id AS SIGNED) AS number FROM `{}{MESSAGES}` t \
             GROUP BY t.message_id HAVING COUNT(*) > 1",
            self.prefix
        );
        Ok(self.load::<Number>(sql)?.into_iter().map(|it| it.number).collect())
    }

    /// How many messages a conversation has.
    ///
    /// # Errors
    /// When the shop's database does not answer.
    pub fn count_messages(&mut self, thread: i64) -> Result<i64, StoreError> {
        let sql = format!(
            "SELECT COUNT(*) AS number FROM `{}{MESSAGES}` t WHERE t.thread_id = {thread}",
            self.prefix
        );
        Ok(self.load::<Number>(sql)?.first().map_or(0, |it| it.number))
    }

    /// Messages of conversations that are not there: how many, and the first ones.
    ///
    /// # Errors
    /// When the shop's database does not answer.
    pub fn orphans(&mut self, limit: usize) -> Result<(i64, Vec<i64>), StoreError> {
        let prefix = &self.prefix;
        let from = format!(
            "FROM `{prefix}{MESSAGES}` t LEFT JOIN `{prefix}{THREADS}` c ON c.thread_id = t.thread_id \
             WHERE c.thread_id IS NULL"
        );
        let count = format!("SELECT COUNT(*) AS number {from}");
        let first = format!(
            "SELECT CAST(t.message_id AS SIGNED) AS number {from} ORDER BY t.message_id LIMIT {limit}"
        );
        let count = self.load::<Number>(count)?.first().map_or(0, |it| it.number);
        Ok((count, self.load::<Number>(first)?.into_iter().map(|it| it.number).collect()))
    }

    /// These users, and the active ones who act for these companies; nobody, where there is no such table.
    ///
    /// # Errors
    /// When the shop's database does not answer.
    pub fn users(
        &mut self,
        ids: &[i64],
        companies: &[i64],
    ) -> Result<Vec<PlatformUser>, StoreError> {
        if !self.has("users", "user_id") {
            return Ok(Vec::new());
        }
        let texts = ["user_type", "firstname", "lastname", "email", "lang_code"];
        let columns = self.columns("users", &["user_id", "company_id"], &texts);
        let mut found = Vec::new();
        for (condition, list) in [
            ("t.user_id IN", ids),
            ("t.user_type = 'V' AND t.status = 'A' AND t.company_id IN", companies),
        ] {
            let known =
                ["user_type", "status", "company_id"].iter().all(|it| self.has("users", it));
            if let Some(list) = in_list(list).filter(|_| known || condition == "t.user_id IN") {
                found.extend(self.load::<PlatformUser>(format!(
                    "SELECT {columns} FROM `{}users` t WHERE {condition} {list}",
                    self.prefix
                ))?);
            }
        }
        found.sort_by_key(|it| it.user_id);
        found.dedup_by_key(|it| it.user_id);
        Ok(found)
    }

    /// The names of companies; `None` where there is no such table.
    ///
    /// # Errors
    /// When the shop's database does not answer.
    pub fn companies(&mut self, ids: &[i64]) -> Result<Option<Vec<PlatformName>>, StoreError> {
        let Some(list) = in_list(ids) else { return Ok(Some(Vec::new())) };
        if !self.has("companies", "company_id") {
            return Ok(None);
        }
        let (name, status) = (self.text("companies", "company"), self.text("companies", "status"));
        let sql = format!(
            "SELECT CAST(t.company_id AS SIGNED) AS id, {}, {status} FROM `{}companies` t WHERE t.company_id IN {list}",
            name.replace("AS `company`", "AS name"),
            self.prefix
        );
        let mut found = self.load::<PlatformName>(sql)?;
        // Some versions keep the name with the descriptions, a row for each language.
        if self.has("company_descriptions", "company") {
            let name =
                self.text("company_descriptions", "company").replace("AS `company`", "AS name");
            let sql = format!(
                "SELECT CAST(t.company_id AS SIGNED) AS id, {name}, '' AS status \
                 FROM `{}company_descriptions` t WHERE t.company_id IN {list} ORDER BY t.lang_code",
                self.prefix
            );
            for described in self.load::<PlatformName>(sql)? {
                let known = found.iter_mut().find(|it| it.id == described.id);
                if let Some(known) = known.filter(|it| it.name.trim().is_empty()) {
                    known.name = described.name;
                }
            }
        }
        Ok(Some(found))
    }

    /// The names of products, in that language where there is one.
    ///
    /// # Errors
    /// When the shop's database does not answer.
    pub fn products(
        &mut self,
        ids: &[i64],
        language: &str,
    ) -> Result<Vec<PlatformName>, StoreError> {
        let columns = ["product_id", "product", "lang_code"];
        let known = columns.iter().all(|it| self.has("product_descriptions", it));
        let Some(list) = in_list(ids).filter(|_| known) else { return Ok(Vec::new()) };
        let name = self.text("product_descriptions", "product").replace("AS `product`", "AS name");
        let sql = format!(
            "SELECT CAST(t.product_id AS SIGNED) AS id, {name}, '' AS status FROM `{}product_descriptions` t \
             WHERE t.product_id IN {list} ORDER BY t.product_id, t.lang_code <> ?, t.lang_code",
            self.prefix
        );
        let mut found: Vec<PlatformName> =
            diesel::sql_query(sql).bind::<Text, _>(language).load(&mut self.connection)?;
        found.dedup_by_key(|it| it.id);
        Ok(found)
    }
}

/// `(1, 2, 3)`; `None` of nothing.
fn in_list(ids: &[i64]) -> Option<String> {
    let list = ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    (!ids.is_empty()).then(|| format!("({list})"))
}
