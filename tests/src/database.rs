//! A database for each test: a SQLite file, or a database of its own on the MariaDB that `scripts/test` started.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result};

use crate::process::Process;
use crate::scene::Scene;

/// The variable by which `scripts/test` says where its MariaDB is: `mysql://user:password@127.0.0.1:port`.
const SERVER: &str = "TEST_MARIADB_URL";

static CREATED: AtomicU32 = AtomicU32::new(0);

/// Which database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The embedded one.
    Sqlite,
    /// A real server.
    Mariadb,
}

/// One empty database; removed when dropped.
#[derive(Debug)]
pub struct Database {
    /// As `database.url` takes it.
    pub url: String,
    folder: PathBuf,
    place: Place,
}

#[derive(Debug)]
enum Place {
    File(PathBuf),
    Server { server: Server, name: String },
}

/// The parts of the server's URL that its command line client takes.
#[derive(Debug, Clone)]
struct Server {
    user: String,
    password: String,
    host: String,
    port: String,
}

impl Kind {
    /// What this kind lacks to be tested with, if it does.
    #[must_use]
    pub fn missing(self) -> Option<String> {
        match self {
            Self::Sqlite => None,
            Self::Mariadb => std::env::var(SERVER)
                .is_err()
                .then(|| format!("no MariaDB server: {SERVER} is not set; run scripts/test")),
        }
    }
}

impl Database {
    pub(crate) async fn create(scene: &Scene, kind: Kind) -> Result<Self> {
        let folder = scene.folder().to_owned();
        let number = CREATED.fetch_add(1, Ordering::Relaxed);
        match kind {
            Kind::Sqlite => {
                let file = folder.join(format!("chaffer-{number}.db"));
                let url = format!("sqlite://{}", file.display());
                Ok(Self { url, folder, place: Place::File(file) })
            }
            Kind::Mariadb => {
                let base = std::env::var(SERVER).with_context(|| format!("{SERVER} is not set"))?;
                let base = base.trim_end_matches('/');
                let server = Server::parse(base)?;
                let name = format!("t_{}_{number}", std::process::id());
                server.client(&folder, &format!("CREATE DATABASE `{name}`")).run().await?;
                let url = format!("{base}/{name}");
                Ok(Self { url, folder, place: Place::Server { server, name } })
            }
        }
    }

    /// Asks the database directly: the rows, each as its columns in text.
    ///
    /// # Errors
    /// When the query fails.
    pub async fn query(&self, sql: &str) -> Result<Vec<Vec<String>>> {
        let output = match &self.place {
            Place::File(file) => {
                let options = ["-batch", "-noheader", "-separator", "\t", "-cmd", ".timeout 20000"];
                let arguments = options.map(str::to_owned).into_iter();
                let file = file.display().to_string();
                Process::new("sqlite3", &self.folder, self.folder.join("sqlite3.log"))
                    .args(arguments.chain([file, sql.to_owned()]))
                    .run()
                    .await?
            }
            Place::Server { server, name } => {
                server.client(&self.folder, &format!("USE `{name}`; {sql}")).run().await?
            }
        };
        let columns = |line: &str| line.split('\t').map(str::to_owned).collect();
        Ok(output.lines().map(columns).collect())
    }

    /// All that the tables hold, as text.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn dump(&self) -> Result<String> {
        match &self.place {
            Place::File(_) => Ok(self.query(".dump").await?.concat().concat()),
            Place::Server { server, name } => {
                let options = ["--no-defaults", "--single-transaction", "--skip-extended-insert"];
                let Server { user, password, host, port } = server;
                Process::new("mariadb-dump", &self.folder, self.folder.join("mariadb.log"))
                    .args(options)
                    .args(["--default-character-set=utf8mb4", "--skip-ssl"])
                    .args([format!("-h{host}"), format!("-P{port}"), format!("-u{user}")])
                    .args([name.clone()])
                    .env("MYSQL_PWD", password)
                    .run()
                    .await
            }
        }
    }

    /// The one number that a query answers.
    ///
    /// # Errors
    /// When the query fails or answers anything else.
    pub async fn number(&self, sql: &str) -> Result<i64> {
        let rows = self.query(sql).await?;
        let cell = rows.first().and_then(|row| row.first()).context("no row")?;
        cell.parse().with_context(|| format!("`{cell}` is no number"))
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        if let Place::Server { server, name } = &self.place {
            // A database that stays behind goes with the server at the end of the run.
            let sql = format!("SET lock_wait_timeout = 5; DROP DATABASE `{name}`");
            let _ = server.client(&self.folder, &sql).run_now();
        }
    }
}

impl Server {
    fn parse(url: &str) -> Result<Self> {
        let parts = || {
            let (login, place) = url.strip_prefix("mysql://")?.split_once('@')?;
            let (user, password) = login.split_once(':')?;
            let (host, port) = place.split_once(':')?;
            let own = str::to_owned;
            Some(Self {
                user: own(user),
                password: own(password),
                host: own(host),
                port: own(port),
            })
        };
        parts().with_context(|| format!("{SERVER} is not mysql://user:password@host:port"))
    }

    fn client(&self, folder: &Path, sql: &str) -> Process {
        let Self { user, password, host, port } = self;
        Process::new("mariadb", folder, folder.join("mariadb.log"))
            .args(["--no-defaults", "--batch", "--skip-column-names", "--connect-timeout=20"])
            .args(["--default-character-set=utf8mb4"])
            .args([format!("-h{host}"), format!("-P{port}"), format!("-u{user}")])
            .args(["-e", sql])
            .env("MYSQL_PWD", password)
    }
}
