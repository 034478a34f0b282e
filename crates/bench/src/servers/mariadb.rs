//! A MariaDB server of our own, with the settings that it comes with: every commit is on disk.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail};

use super::free_port;
use crate::process::Daemon;

const PASSWORD: &str = "chaffer-bench";

/// The running server.
pub struct Mariadb {
    _daemon: Daemon,
    address: SocketAddr,
}

impl Mariadb {
    /// Starts it in that folder, with an empty database `chaffer`.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn start(folder: &Path) -> Result<Self> {
        let data = folder.join("mariadb");
        let user =
            if rustix::process::geteuid().is_root() { "--user=root" } else { "--no-defaults" };
        let install = Command::new("mariadb-install-db")
            .env("PATH", crate::search_path())
            .args(["--no-defaults", user, "--auth-root-authentication-method=normal"])
            .arg("--skip-test-db")
            .arg(format!("--datadir={}", data.display()))
            .output()?;
        if !install.status.success() {
            bail!("mariadb-install-db: {}", String::from_utf8_lossy(&install.stderr));
        }
        let first = folder.join("first.sql");
        let sql = format!(
            "CREATE DATABASE chaffer CHARACTER SET utf8mb4;\nCREATE USER chaffer@'127.0.0.1' IDENTIFIED BY '{PASSWORD}';\nGRANT ALL ON *.* TO chaffer@'127.0.0.1';\n"
        );
        std::fs::write(&first, sql)?;
        let address = free_port()?;
        let mut command = Command::new("mariadbd");
        command
            .env("PATH", crate::search_path())
            .args(["--no-defaults", user, "--bind-address=127.0.0.1", "--skip-name-resolve"])
            .arg(format!("--port={}", address.port()))
            .arg(format!("--datadir={}", data.display()))
            .arg(format!("--socket={}", folder.join("mariadb.sock").display()))
            .arg(format!("--pid-file={}", folder.join("mariadb.pid").display()))
            .arg(format!("--init-file={}", first.display()));
        let mut daemon = Daemon::start("mariadbd", &mut command, folder)?;
        let mut server = None;
        daemon.wait_until(|| {
            let client = |address| client_at(address).args(["-e", "SELECT 1"]).output();
            let up = client(address).is_ok_and(|output| output.status.success());
            if up {
                server = Some(address);
            }
            up
        })?;
        Ok(Self { _daemon: daemon, address: server.unwrap_or(address) })
    }

    /// What Chaffer is told.
    #[must_use]
    pub fn url(&self) -> String {
        format!("{}/chaffer", self.server_url())
    }

    /// The same without a database.
    #[must_use]
    pub fn server_url(&self) -> String {
        format!("mysql://chaffer:{PASSWORD}@{}", self.address)
    }

    /// The command line client.
    #[must_use]
    pub fn client(&self) -> Command {
        client_at(self.address)
    }
}

fn client_at(address: SocketAddr) -> Command {
    let mut command = Command::new("mariadb");
    command.env("MYSQL_PWD", PASSWORD).args(["--no-defaults", "-h127.0.0.1", "-uchaffer"]);
    command.arg(format!("-P{}", address.port())).arg("chaffer");
    command
}
