//! Both daemons of Chaffer with a database, and people in them who talk two by two.

use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::{answers, free_port};
use crate::http::Http;
use crate::process::{Daemon, Processes};
use crate::talk::{Pair, Talk};

/// The running daemons.
pub struct Stack {
    api: Daemon,
    push: Daemon,
    address: SocketAddr,
    websocket: SocketAddr,
    key: String,
}

impl Stack {
    /// Starts both in that folder, on a database that is empty so far.
    ///
    /// # Errors
    /// When they do not come up.
    pub fn start(folder: &Path, database: &str) -> Result<Self> {
        let (address, websocket, pusher, http) =
            (free_port()?, free_port()?, free_port()?, free_port()?);
        let file = folder.join("chaffer.toml");
        let config = format!(
            "[api]
listen = \"{address}\"
trusted_ips = [\"127.0.0.1\"]
[push]
websocket_listen = \"{websocket}\"
pusher_listen = \"{pusher}\"
http_listen = \"{http}\"
[database]
url = \"{database}\"
[limits]
calls_per_minute = 0
calls_per_minute_of_the_shop = 0
messages_per_minute_per_thread = 0
[keys]
token = [\"k1:0123456789abcdef0123456789abcdef\"]
link = [\"0123456789abcdef0123456789abcdef\"]
shop = [\"0123456789abcdef0123456789abcdef\"]
"
        );
        std::fs::write(&file, config)?;
        let program = |name: &str, arguments: &[&str]| -> Result<Command> {
            let mut command = Command::new(std::env::current_exe()?.with_file_name(name));
            command.current_dir(folder).args(arguments).arg("--config").arg(&file);
            Ok(command)
        };
        let run = |arguments: &[&str]| -> Result<String> {
            let output = program("chaffer-api", arguments)?.output()?;
            if !output.status.success() {
                bail!("chaffer-api {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
            }
            Ok(String::from_utf8(output.stdout)?.trim().to_owned())
        };
        run(&["migrate"])?;
        let key = run(&["key", "create", "--name", "bench"])?;
        let mut push = Daemon::start("chaffer-push", &mut program("chaffer-push", &[])?, folder)?;
        let mut api = Daemon::start("chaffer-api", &mut program("chaffer-api", &[])?, folder)?;
        push.wait_until(|| answers(http, "/healthz"))?;
        api.wait_until(|| answers(address, "/healthz"))?;
        Ok(Self { api, push, address, websocket, key })
    }

    fn shop(&self, acting: Option<&str>) -> Result<Http> {
        let mut shop = Http::connect(self.address, &self.key)?;
        if let Some(user) = acting {
            shop.with("Chaffer-User", user);
        }
        Ok(shop)
    }

    /// A customer with a thread; what posts a text in it.
    ///
    /// # Errors
    /// When the API refuses.
    pub fn poster(&self, number: usize) -> Result<impl FnMut(&str) -> Result<()> + Send + use<>> {
        let (vendor, seller, buyer) =
            (format!("v{number}"), format!("s{number}"), format!("b{number}"));
        let mut shop = self.shop(None)?;
        let body = json!({"name": vendor, "status": "active", "plan_includes_messaging": true});
        shop.call("PUT", &format!("/v1/vendors/{vendor}"), &body)?;
        let body = json!({"role": "vendor_admin", "name": seller, "vendor_id": vendor});
        shop.call("PUT", &format!("/v1/users/{seller}"), &body)?;
        let body = json!({"role": "customer", "name": buyer});
        shop.call("PUT", &format!("/v1/users/{buyer}"), &body)?;
        let product = json!({"type": "product", "id": "p1", "title": "A product"});
        let body = json!({"subject": product, "vendor_id": vendor});
        let thread = self.shop(Some(&buyer))?.call("POST", "/v1/threads", &body)?;
        let thread = thread["id"].as_i64().context("the thread has no id")?;
        let (address, token) = (self.address, token(&mut shop, &buyer)?);
        let path = format!("/v1/threads/{thread}/messages");
        // Not connected before there is something to say: the API waits ten seconds for that.
        let mut connection = None;
        Ok(move |text: &str| {
            let caller = match &mut connection {
                Some(caller) => caller,
                none => none.insert(Http::connect(address, &token)?),
            };
            caller.call("POST", &path, &json!({"text": text})).map(|_| ())
        })
    }
}

impl Stack {
    /// Makes the administrator `staff`.
    ///
    /// # Errors
    /// When the API refuses.
    pub fn staff(&self) -> Result<()> {
        let body = json!({"role": "admin", "name": "Staff", "root": true});
        self.shop(None)?.call("PUT", "/v1/users/staff", &body).map(|_| ())
    }

    /// The browser of somebody who is there.
    ///
    /// # Errors
    /// When the API refuses.
    pub fn person(&self, id: &str) -> Result<Http> {
        Http::connect(self.address, &token(&mut self.shop(None)?, id)?)
    }
}

fn token(shop: &mut Http, user: &str) -> Result<String> {
    let answer: Value = shop.call("POST", &format!("/v1/users/{user}/tokens"), &json!({}))?;
    Ok(answer["token"].as_str().context("no token")?.to_owned())
}

impl Talk for Stack {
    fn processes(&self) -> Processes {
        self.api.processes().with(&self.push.processes())
    }

    fn pair(&mut self, number: usize) -> Result<Pair> {
        let send = self.poster(number)?;
        let token = token(&mut self.shop(None)?, &format!("s{number}"))?;
        let mut socket = TcpStream::connect(self.websocket)?;
        let hello = crate::swarm::Hello::to("/ws", None);
        crate::talk::say(&mut socket, &hello.request, b"\r\n\r\n")?;
        let auth = format!("{{\"type\":\"auth\",\"token\":\"{token}\"}}");
        crate::talk::say(&mut socket, &crate::swarm::frame(0x81, auth.as_bytes()), b"\"welcome\"")?;
        Ok(Pair { send: Box::new(send), receive: socket })
    }
}
