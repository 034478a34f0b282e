//! Both daemons on free ports, with a database of their own.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use toml::{Table, Value};

use crate::database::Database;
use crate::http::{Api, Shop};
use crate::ports::free_port;
use crate::process::Process;
use crate::scene::{Scene, target};
use crate::wait::{PATIENCE, eventually};

/// Where the daemons listen, on loopback.
#[derive(Debug, Clone, Copy)]
pub struct Ports {
    /// The API.
    pub api: u16,
    /// The WebSocket server.
    pub websocket: u16,
    /// The pusher port.
    pub pusher: u16,
    /// The push daemon's side door.
    pub http: u16,
}

/// What a stack is started with; everything has a default that suits most tests.
#[derive(Debug)]
pub struct Setup {
    /// The ports it will have.
    pub ports: Ports,
    folder: PathBuf,
    settings: Table,
}

/// Both daemons.
#[derive(Debug)]
pub struct Stack {
    /// The API daemon.
    pub api: Process,
    /// The push daemon.
    pub push: Process,
    /// Their database; dropped after them.
    pub database: Database,
    /// Where they listen.
    pub ports: Ports,
    /// Their configuration file.
    pub config: PathBuf,
    /// An API key.
    pub key: String,
    folder: PathBuf,
    settings: Table,
}

impl Ports {
    /// Four free ones.
    ///
    /// # Errors
    /// When there are not so many.
    pub fn free() -> Result<Self> {
        Ok(Self {
            api: free_port()?,
            websocket: free_port()?,
            pusher: free_port()?,
            http: free_port()?,
        })
    }
}

/// Secrets of tests; each long enough to be accepted.
const TOKEN_KEY: &str = "k1:a-token-key-for-tests-0123456789abcdef";
const LINK_KEY: &str = "a-link-key-for-tests-0123456789abcdef";
const SHOP_KEY: &str = "a-shop-key-for-tests-0123456789abcdef";

fn put(settings: &mut Table, key: &str, value: Value) {
    let (section, name) = key.split_once('.').unwrap_or(("", key));
    let entry = settings.entry(section).or_insert_with(|| Value::Table(Table::new()));
    if let Value::Table(table) = entry {
        table.insert(name.into(), value);
    }
}

impl Setup {
    /// Ports, keys and a folder.
    ///
    /// # Errors
    /// When there are none.
    pub fn new(scene: &Scene) -> Result<Self> {
        let ports = Ports::free()?;
        let mut setup = Self { ports, folder: scene.new_folder("stack")?, settings: Table::new() };
        let listen = |port: u16| format!("127.0.0.1:{port}");
        setup = setup
            .set("api.listen", listen(ports.api))
            .set("api.trusted_ips", vec!["127.0.0.1"])
            .set("push.websocket_listen", listen(ports.websocket))
            .set("push.pusher_listen", listen(ports.pusher))
            .set("push.http_listen", listen(ports.http))
            .set("push.restart_spread_ms", 200)
            .set("keys.token", vec![TOKEN_KEY])
            .set("keys.link", vec![LINK_KEY])
            .set("keys.shop", vec![SHOP_KEY]);
        Ok(setup)
    }

    /// Changes a setting, named as in the file: `api.demo`.
    #[must_use]
    pub fn set(mut self, key: &str, value: impl Into<Value>) -> Self {
        put(&mut self.settings, key, value.into());
        self
    }

    /// Makes the database and the files, and starts nothing.
    ///
    /// # Errors
    /// When the database or the API refuses.
    pub async fn prepare(self, scene: &Scene) -> Result<Stack> {
        let database = scene.new_database().await?;
        let Self { ports, folder, settings } = self.set("database.url", database.url.clone());
        let config = folder.join("chaffer.toml");
        let daemon = |program: &str| -> Result<Process> {
            let log = folder.join(format!("{program}.log"));
            let process = Process::new(target(program)?, &folder, log).env("RUST_BACKTRACE", "1");
            Ok(process.args(["--config".to_owned(), config.display().to_string()]))
        };
        let (api, push) = (daemon("chaffer-api")?, daemon("chaffer-push")?);
        let mut stack =
            Stack { api, push, database, ports, config, key: String::new(), folder, settings };
        stack.write_config()?;
        stack.command(&["migrate"])?.run().await?;
        stack.key = stack.new_key("test").await?;
        Ok(stack)
    }

    /// Starts both daemons and waits until both are ready.
    ///
    /// # Errors
    /// When they do not get ready.
    pub async fn start(self, scene: &Scene) -> Result<Stack> {
        let mut stack = self.prepare(scene).await?;
        stack.push.start()?;
        stack.api.start()?;
        stack.ready().await?;
        Ok(stack)
    }
}

impl Stack {
    /// How long a daemon may take to stop when asked.
    pub const STOP: Duration = Duration::from_secs(20);

    /// Starts both daemons as most tests need them.
    ///
    /// # Errors
    /// When they do not get ready.
    pub async fn start(scene: &Scene) -> Result<Self> {
        Setup::new(scene)?.start(scene).await
    }

    /// Changes a setting; the daemons see it at their next start.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn set(&mut self, key: &str, value: impl Into<Value>) -> Result<()> {
        put(&mut self.settings, key, value.into());
        self.write_config()
    }

    fn write_config(&self) -> Result<()> {
        Ok(std::fs::write(&self.config, toml::to_string(&self.settings)?)?)
    }

    /// One of `chaffer-api`'s commands, not run yet.
    ///
    /// # Errors
    /// When the program is not built.
    pub fn command(&self, arguments: &[&str]) -> Result<Process> {
        let log = self.folder.join("command.log");
        Ok(Process::new(target("chaffer-api")?, &self.folder, log)
            .args(arguments.iter().copied())
            .args(["--config".to_owned(), self.config.display().to_string()]))
    }

    /// Makes one more API key.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn new_key(&self, name: &str) -> Result<String> {
        let output = self.command(&["key", "create", "--name", name])?.run().await?;
        let key = output.trim();
        ensure!(!key.is_empty() && !key.contains(char::is_whitespace), "no key: {output}");
        Ok(key.to_owned())
    }

    /// Waits until both daemons say that they are ready.
    ///
    /// # Errors
    /// When one ends or takes too long.
    pub async fn ready(&mut self) -> Result<()> {
        self.push_ready().await?;
        self.api_ready().await
    }

    /// Waits until the API says that it is ready.
    ///
    /// # Errors
    /// When it ends or takes too long.
    pub async fn api_ready(&mut self) -> Result<()> {
        let url = self.api_url();
        wait_ready(&mut self.api, &url).await
    }

    /// Waits until the push daemon says that it is ready.
    ///
    /// # Errors
    /// When it ends or takes too long.
    pub async fn push_ready(&mut self) -> Result<()> {
        let url = self.push_url();
        wait_ready(&mut self.push, &url).await
    }

    /// Waits until a push daemon that somebody else started says that it is ready.
    ///
    /// # Errors
    /// When it takes too long.
    pub async fn push_ready_without_process(&self) -> Result<()> {
        let api = Api::new(&self.push_url())?;
        let ready = async || Ok((api.get("/readyz").await?.status == 200).then_some(()));
        eventually("the push daemon is ready", PATIENCE, ready).await
    }

    /// `kill -9` to the API, and a new start, without waiting for it to be ready.
    ///
    /// # Errors
    /// When it did not run.
    pub fn crash_api(&mut self) -> Result<()> {
        self.api.kill()?;
        self.api.start()
    }

    /// `kill -9` to the push daemon, and a new start, without waiting for it to be ready.
    ///
    /// # Errors
    /// When it did not run.
    pub fn crash_push(&mut self) -> Result<()> {
        self.push.kill()?;
        self.push.start()
    }

    /// The API's address.
    #[must_use]
    pub fn api_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports.api)
    }

    /// The push daemon's side door.
    #[must_use]
    pub fn push_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports.http)
    }

    /// The WebSocket server's address.
    #[must_use]
    pub fn websocket_url(&self) -> String {
        format!("ws://127.0.0.1:{}/ws", self.ports.websocket)
    }

    /// A client of the API without credentials.
    ///
    /// # Errors
    /// When no HTTP client can be made.
    pub fn anonymous(&self) -> Result<Api> {
        Api::new(&self.api_url())
    }

    /// The shop's backend.
    ///
    /// # Errors
    /// When no HTTP client can be made.
    pub fn shop(&self) -> Result<Shop> {
        Ok(Shop::new(&self.anonymous()?, &self.key))
    }

    /// The folder of its files.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The signature that a shop's page gives its browser for a subject (`subject_signature`), over the parts
    /// `type, id, title, url, image_url, customer_id, vendor_id`, absent ones empty; for no storefront.
    ///
    /// # Errors
    /// Never, with a key of any length.
    pub fn subject_signature(&self, parts: [&str; 7]) -> Result<String> {
        use hmac::{Hmac, KeyInit, Mac};
        let mut mac =
            Hmac::<sha2::Sha256>::new_from_slice(SHOP_KEY.as_bytes()).context("no HMAC key")?;
        mac.update(parts.join("\n").as_bytes());
        mac.update(b"\n");
        Ok(hex::encode(mac.finalize().into_bytes()))
    }

    /// The bearer of `/internal/v1`.
    ///
    /// # Errors
    /// When the link key is refused.
    pub fn internal_bearer(&self) -> Result<String> {
        let keys = chaffer_shared::link::LinkKeys::parse(&[LINK_KEY.to_owned()])?;
        keys.internal_bearer().context("no link key")
    }

    /// The keys that sign tokens.
    ///
    /// # Errors
    /// When the token key is refused.
    pub fn token_keys(&self) -> Result<chaffer_shared::token::TokenKeys> {
        Ok(chaffer_shared::token::TokenKeys::parse(&[TOKEN_KEY.to_owned()])?)
    }
}

async fn wait_ready(process: &mut Process, url: &str) -> Result<()> {
    let api = Api::new(url)?;
    let what = format!("{url}/readyz answers 200");
    let ready = eventually(&what, PATIENCE, async || {
        if !process.is_running() {
            return Ok(Some(false));
        }
        let answer = api.get("/readyz").await?;
        ensure!(answer.status == 200, "{answer}");
        Ok(Some(true))
    })
    .await?;
    ensure!(ready, "the daemon at {url} ended: {}", process.output());
    Ok(())
}
