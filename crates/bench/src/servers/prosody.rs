//! Prosody, an XMPP server, from Debian: rooms whose messages are archived in SQLite (muc_mam) before they are
//! passed on, with the same durability as Chaffer's (synchronous FULL, as SQLite has it by itself) and no module that this
//! does not need.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;

use anyhow::Result;

use super::{free_port, listens};
use crate::process::{Daemon, Processes};
use crate::talk::{Pair, Talk, say};

/// How its SQLite makes a commit durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Journal {
    /// As it comes: Prosody 0.12 has no setting for it, and SQLite's own is the rollback journal.
    Rollback,
    /// The faster one that Chaffer uses: what an administrator gets who makes the file so by hand.
    Wal,
}

/// The running server.
pub struct Prosody {
    daemon: Daemon,
    address: SocketAddr,
}

impl Prosody {
    /// Starts it in that folder.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn start(folder: &Path, journal: Journal) -> Result<Self> {
        let address = free_port()?;
        let (here, port) = (folder.display(), address.port());
        let config = format!(
            r#"run_as_root = true
daemonize = false
pidfile = "{here}/prosody.pid"
data_path = "{here}"
log = {{ warn = "{here}/prosody-warnings.log" }}
interfaces = {{ "127.0.0.1" }}
c2s_ports = {{ {port} }}
modules_enabled = {{ "saslauth", "c2s" }}
modules_disabled = {{ "s2s", "tls", "offline" }}
c2s_require_encryption = false
allow_unencrypted_plain_auth = true
VirtualHost "localhost"
    authentication = "anonymous"
Component "rooms.localhost" "muc"
    modules_enabled = {{ "muc_mam" }}
    muc_log_by_default = true
    muc_room_locking = false
    storage = {{ muc_log = "sql" }}
    sql = {{ driver = "SQLite3", database = "{here}/prosody.sqlite" }}
"#
        );
        if journal == Journal::Wal {
            let wal = Command::new("sqlite3")
                .arg(folder.join("prosody.sqlite"))
                .arg("PRAGMA journal_mode = WAL; CREATE TABLE unused (n);")
                .output()?;
            anyhow::ensure!(wal.status.success(), "sqlite3 failed");
        }
        let file = folder.join("prosody.cfg.lua");
        std::fs::write(&file, config)?;
        let mut command = Command::new("prosody");
        command.env("PATH", crate::search_path()).arg("--config").arg(&file);
        let mut daemon = Daemon::start("prosody", &mut command, folder)?;
        daemon.wait_until(|| listens(address))?;
        Ok(Self { daemon, address })
    }

    /// Somebody in a room.
    fn enter(&self, room: usize, name: &str) -> Result<TcpStream> {
        let stream = b"<stream:stream to='localhost' version='1.0' xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>";
        let mut socket = TcpStream::connect(self.address)?;
        socket.set_nodelay(true)?;
        say(&mut socket, stream, b"</stream:features>")?;
        let anonymous =
            b"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='ANONYMOUS'></auth>";
        say(&mut socket, anonymous, b"<success")?;
        say(&mut socket, stream, b"</stream:features>")?;
        let bind =
            b"<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'></bind></iq>";
        say(&mut socket, bind, b"</jid>")?;
        let presence = format!(
            "<presence to='r{room}@rooms.localhost/{name}'><x xmlns='http://jabber.org/protocol/muc'><history maxstanzas='0'/></x></presence>"
        );
        say(&mut socket, presence.as_bytes(), b"'110'")?;
        Ok(socket)
    }
}

impl Talk for Prosody {
    fn processes(&self) -> Processes {
        self.daemon.processes()
    }

    fn pair(&mut self, number: usize) -> Result<Pair> {
        let receive = self.enter(number, "seller")?;
        let mut sender = self.enter(number, "buyer")?;
        // In a room everybody hears their own messages, too; somebody has to take them.
        let mut echo = sender.try_clone()?;
        std::thread::spawn(move || {
            let mut room = vec![0; 65536];
            while echo.read(&mut room).is_ok_and(|read| read > 0) {}
        });
        let send = move |text: &str| {
            let message = format!(
                "<message to='r{number}@rooms.localhost' type='groupchat'><body>{text}</body></message>"
            );
            Ok(sender.write_all(message.as_bytes())?)
        };
        Ok(Pair { send: Box::new(send), receive })
    }
}
