//! A real SMTP server that wants STARTTLS and a password, and keeps the mails that it gets.

use std::path::PathBuf;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::ports::free_port;
use crate::process::Process;
use crate::scene::{Scene, repository};
use crate::stack::Setup;
use crate::wait::{PATIENCE, eventually};

/// Debian's own, which has python3-aiosmtpd.
const PYTHON: &str = "/usr/bin/python3";
const USER: &str = "chaffer";
const PASSWORD: &str = "a-password-for-the-mail-server";

/// The server and its folder.
#[derive(Debug)]
pub struct MailServer {
    process: Process,
    folder: PathBuf,
    port: u16,
}

impl MailServer {
    /// Makes a certificate and starts the server.
    ///
    /// # Errors
    /// When `openssl` or `python3-aiosmtpd` is missing.
    pub async fn start(scene: &Scene) -> Result<Self> {
        let mut server = Self::prepare(scene).await?;
        server.begin().await?;
        Ok(server)
    }

    /// Makes all it needs, and starts nothing.
    ///
    /// # Errors
    /// When `openssl` is missing.
    pub async fn prepare(scene: &Scene) -> Result<Self> {
        let folder = scene.new_folder("mails")?;
        let port = free_port()?;
        // As people make their own certificate for a mail server.
        Process::new("openssl", &folder, folder.join("openssl.log"))
            .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"])
            .args(["-nodes", "-days", "2", "-subj", "/CN=mail", "-keyout", "key.pem"])
            .args(["-out", "certificate.pem", "-addext", "subjectAltName=IP:127.0.0.1"])
            .args(["-addext", "basicConstraints=critical,CA:FALSE"])
            .run()
            .await?;
        let script = repository().join("tests/smtp/server.py");
        let process = Process::new(PYTHON, &folder, folder.join("smtp.log"))
            .args([script.display().to_string(), port.to_string(), folder.display().to_string()])
            .args(["certificate.pem", "key.pem", USER, PASSWORD]);
        Ok(Self { process, folder, port })
    }

    /// Starts the server, or starts it again.
    ///
    /// # Errors
    /// When it does not get ready.
    pub async fn begin(&mut self) -> Result<()> {
        let before = self.process.output().matches("ready").count();
        self.process.start()?;
        let process = &mut self.process;
        eventually("the SMTP server is ready", PATIENCE, async || {
            anyhow::ensure!(process.is_running(), "it ended: {}", process.output());
            Ok((process.output().matches("ready").count() > before).then_some(()))
        })
        .await
    }

    /// `kill -9`.
    ///
    /// # Errors
    /// When it does not run.
    pub fn kill(&mut self) -> Result<()> {
        self.process.kill()
    }

    /// The settings that send mails here.
    #[must_use]
    pub fn configure(&self, setup: Setup) -> Setup {
        setup
            .set("mail.smtp_host", "127.0.0.1")
            .set("mail.smtp_port", i64::from(self.port))
            .set("mail.smtp_user", USER)
            .set("mail.smtp_password", PASSWORD)
            .set("mail.smtp_ca_file", self.folder.join("certificate.pem").display().to_string())
            .set("mail.from", "Kiln Shop <chat@shop.example>")
            .set("mail.public_url", "https://shop.example/chat/")
            .set("mail.customer_url", "https://shop.example/messages/{thread_id}")
            .set("mail.vendor_url", "https://shop.example/vendor/messages/{thread_id}")
            .set("mail.reply_address", "reply@shop.example")
            .set("mail.retry_seconds", 1)
            .set("keys.mail", vec!["a-mail-key-for-tests-0123456789abcdef"])
    }

    /// What it has got, in the order of arrival.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn mails(&self) -> Result<Vec<Value>> {
        let entries = std::fs::read_dir(&self.folder)?.flatten().map(|entry| entry.path());
        let mut files: Vec<PathBuf> =
            entries.filter(|path| path.extension().is_some_and(|it| it == "json")).collect();
        files.sort();
        let read = |path: &PathBuf| Ok(serde_json::from_slice(&std::fs::read(path)?)?);
        files.iter().map(read).collect()
    }

    /// What it has got for one address.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn mails_to(&self, address: &str) -> Result<Vec<Value>> {
        let is_theirs = |mail: &Value| {
            mail.get("recipients").is_some_and(|it| it == &serde_json::json!([address]))
        };
        Ok(self.mails()?.into_iter().filter(is_theirs).collect())
    }

    /// Waits until it has got so many for one address; returns the last.
    ///
    /// # Errors
    /// When they do not come, or more of them do.
    pub async fn wait_for(&self, address: &str, count: usize) -> Result<Value> {
        let what = format!("{count} mails to {address}");
        eventually(&what, PATIENCE, async || {
            let mails = self.mails_to(address)?;
            anyhow::ensure!(mails.len() <= count, "{} mails: {mails:?}", mails.len());
            Ok(mails.last().filter(|_| mails.len() == count).cloned())
        })
        .await
    }

    /// Has it answer so to every recipient, or no longer.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn refuse(&self, answer: Option<&str>) -> Result<()> {
        self.mark("refuse", answer)
    }

    /// Has it take mails without saying so, or no longer.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn hold(&self, holds: bool) -> Result<()> {
        self.mark("hold", holds.then_some("x"))
    }

    fn mark(&self, name: &str, text: Option<&str>) -> Result<()> {
        let path = self.folder.join(name);
        match text {
            Some(text) => std::fs::write(path, text).context("cannot write"),
            None => std::fs::remove_file(path).context("cannot remove"),
        }
    }
}
