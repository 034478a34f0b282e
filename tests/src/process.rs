//! A program that a test starts, kills by its id, and starts again.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::wait::eventually;

/// One program, running or not; what it prints goes to a file. Killed when dropped.
#[derive(Debug)]
pub struct Process {
    program: PathBuf,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    folder: PathBuf,
    log: PathBuf,
    input: Option<PathBuf>,
    child: Option<Child>,
}

impl Process {
    /// A program that is not started yet; `log` gets its output, of all its starts.
    #[must_use]
    pub fn new(program: impl Into<PathBuf>, folder: &Path, log: PathBuf) -> Self {
        Self {
            program: program.into(),
            arguments: Vec::new(),
            environment: Vec::new(),
            folder: folder.into(),
            log,
            input: None,
            child: None,
        }
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<S: Into<String>>(mut self, arguments: impl IntoIterator<Item = S>) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// Sets a variable; none but `PATH` and `HOME` are inherited, since the daemons refuse unknown `CHAFFER_*`.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl Into<String>) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// Has it read a file as its standard input.
    #[must_use]
    pub fn stdin(mut self, file: PathBuf) -> Self {
        self.input = Some(file);
        self
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).current_dir(&self.folder).env_clear().stdin(Stdio::null());
        command.envs(std::env::vars().filter(|(name, _)| name == "PATH" || name == "HOME"));
        command.envs(self.environment.iter().cloned());
        // A file that is not there is an empty input, as it is without one.
        if let Some(file) = self.input.as_ref().and_then(|input| File::open(input).ok()) {
            command.stdin(file);
        }
        command
    }

    /// Starts it.
    ///
    /// # Errors
    /// When it runs already or cannot be started.
    pub fn start(&mut self) -> Result<()> {
        ensure!(!self.is_running(), "{} runs already", self.program.display());
        let log = File::options().create(true).append(true).open(&self.log)?;
        let child = self
            .command()
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot start {}", self.program.display()))?;
        self.child = Some(child);
        Ok(())
    }

    /// Runs it to its end and returns what it printed on standard output.
    ///
    /// # Errors
    /// When it fails; the error holds what it printed on standard error.
    pub async fn run(&self) -> Result<String> {
        let (status, output, errors) = self.outcome().await?;
        ensure!(
            status.success(),
            "{} {:?}: {status}: {errors}",
            self.program.display(),
            self.arguments
        );
        Ok(output)
    }

    /// Runs it to its end: how it ended, its standard output and its standard error.
    ///
    /// # Errors
    /// When it cannot be started.
    pub async fn outcome(&self) -> Result<(ExitStatus, String, String)> {
        let mut command = self.command();
        let output = tokio::task::spawn_blocking(move || command.output()).await?;
        let output = output.with_context(|| format!("cannot start {}", self.program.display()))?;
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Ok((output.status, text(output.stdout), text(output.stderr)))
    }

    /// Runs it to its end, blocking; for `Drop`.
    pub(crate) fn run_now(&self) -> Result<ExitStatus> {
        Ok(self.command().output()?.status)
    }

    /// Its process id.
    ///
    /// # Errors
    /// When it was not started.
    pub fn pid(&self) -> Result<u32> {
        Ok(self.child.as_ref().context("not started")?.id())
    }

    /// Whether it runs.
    pub fn is_running(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    /// `kill -9`.
    ///
    /// # Errors
    /// When it was not started.
    pub fn kill(&mut self) -> Result<()> {
        let child = self.child.as_mut().context("not started")?;
        child.kill()?;
        child.wait()?;
        self.child = None;
        Ok(())
    }

    /// Sends SIGTERM and waits until it is gone.
    ///
    /// # Errors
    /// When it was not started or is still there after `patience`.
    pub async fn stop(&mut self, patience: Duration) -> Result<ExitStatus> {
        signal(self.pid()?, "TERM")?;
        self.ended(patience).await
    }

    /// Waits until it ends by itself.
    ///
    /// # Errors
    /// When it was not started or is still there after `patience`.
    pub async fn ended(&mut self, patience: Duration) -> Result<ExitStatus> {
        let what = format!("{} ends", self.program.display());
        let child = self.child.as_mut().context("not started")?;
        let status = eventually(&what, patience, async || Ok(child.try_wait()?)).await?;
        self.child = None;
        Ok(status)
    }

    /// Where its output goes.
    #[must_use]
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// What it has printed so far.
    #[must_use]
    pub fn output(&self) -> String {
        std::fs::read(&self.log)
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.is_running() {
            // Nothing can be done about a failure here, and the next start takes other ports.
            let _ = self.kill();
        }
    }
}

/// Sends a signal by name (`TERM`, `KILL`, ...) to one process.
///
/// # Errors
/// When there is no such process.
pub fn signal(pid: u32, name: &str) -> Result<()> {
    let status = Command::new("sh")
        .args(["-c", "kill -s \"$0\" \"$1\"", name, &pid.to_string()])
        .status()?;
    ensure!(status.success(), "kill -s {name} {pid}: {status}");
    Ok(())
}

/// Whether a process is there and not merely waiting to be reaped.
#[must_use]
pub fn alive(pid: u32) -> bool {
    stat(pid).is_some_and(|(state, _)| state != 'Z')
}

/// The state and the parent of a process.
fn stat(pid: u32) -> Option<(char, u32)> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = text.rsplit_once(')')?.1.split_whitespace();
    Some((fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
}

/// All live processes below one process, with the names of their programs.
#[must_use]
pub fn descendants(root: u32) -> Vec<(u32, String)> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let all: Vec<(u32, u32)> = pids
        .filter_map(|pid| stat(pid).filter(|(state, _)| *state != 'Z').map(|it| (pid, it.1)))
        .collect();
    let mut found = vec![root];
    let mut next = 0;
    while let Some(parent) = found.get(next).copied() {
        found.extend(all.iter().filter(|(_, of)| *of == parent).map(|(pid, _)| *pid));
        next += 1;
    }
    let name = |pid: u32| std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    found.into_iter().skip(1).map(|pid| (pid, name(pid).trim().to_owned())).collect()
}
