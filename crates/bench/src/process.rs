//! What a server's processes cost, as the kernel counts it (`/proc`).

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

/// A server that this program started; stopped when dropped.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
    name: String,
}

impl Daemon {
    /// Starts it; what it says goes to a file in the folder.
    ///
    /// # Errors
    /// When the program cannot be started.
    pub fn start(name: &str, command: &mut Command, folder: &Path) -> Result<Self> {
        let log = fs::File::create(folder.join(format!("{name}.log")))?;
        let child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        Ok(Self { child, name: name.into() })
    }

    /// Waits until it is ready.
    ///
    /// # Errors
    /// When it ends or takes longer than half a minute.
    pub fn wait_until(&mut self, mut ready: impl FnMut() -> bool) -> Result<()> {
        let start = Instant::now();
        while !ready() {
            if let Some(status) = self.child.try_wait()? {
                bail!("{} ended: {status}", self.name);
            }
            if start.elapsed() > Duration::from_secs(30) {
                bail!("{} is not ready", self.name);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// It and its children.
    #[must_use]
    pub fn processes(&self) -> Processes {
        Processes::below(self.child.id())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let processes = self.processes();
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process(pid, Signal::TERM);
        }
        let start = Instant::now();
        while matches!(self.child.try_wait(), Ok(None)) && start.elapsed() < Duration::from_secs(8)
        {
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        // nginx's workers finish what they do; a killed master would leave them.
        for pid in processes.0 {
            if let Some(pid) = Pid::from_raw(pid.cast_signed())
                && Path::new(&format!("/proc/{}", pid.as_raw_nonzero())).exists()
            {
                let _ = kill_process(pid, Signal::KILL);
            }
        }
    }
}

/// Some processes.
#[derive(Debug, Clone, Default)]
pub struct Processes(Vec<u32>);

impl Processes {
    /// A process and all its descendants.
    #[must_use]
    pub fn below(root: u32) -> Self {
        let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
        for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
            let pid = entry.file_name().to_str().and_then(|name| name.parse().ok());
            let Some(pid) = pid else { continue };
            if let Some(parent) = stat(pid).and_then(|fields| fields.get(1)?.parse().ok()) {
                children.entry(parent).or_default().push(pid);
            }
        }
        let mut all = vec![root];
        let mut at = 0;
        while let Some(pid) = all.get(at).copied() {
            all.extend(children.remove(&pid).unwrap_or_default());
            at += 1;
        }
        Self(all)
    }

    /// This program.
    #[must_use]
    pub fn own() -> Self {
        Self(vec![std::process::id()])
    }

    /// These and those.
    #[must_use]
    pub fn with(mut self, others: &Self) -> Self {
        self.0.extend(&others.0);
        self
    }

    /// CPU seconds so far, user and system.
    #[must_use]
    pub fn cpu(&self) -> f64 {
        let ticks = |pid: &u32| {
            let fields = stat(*pid)?;
            Some(fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?)
        };
        let sum: u64 = self.0.iter().filter_map(ticks).sum();
        to_f64(sum) / to_f64(rustix::param::clock_ticks_per_second())
    }

    /// Resident bytes. A page that several processes share counts once (PSS).
    #[must_use]
    pub fn resident(&self) -> u64 {
        self.memory("Pss:")
    }

    /// Resident bytes, with all that others share (RSS, as `ps` shows it).
    #[must_use]
    pub fn resident_alone(&self) -> u64 {
        self.memory("Rss:")
    }

    fn memory(&self, field: &str) -> u64 {
        let kib = |pid: &u32| {
            let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
            let line = text.lines().find_map(|line| line.strip_prefix(field))?;
            line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()
        };
        self.0.iter().filter_map(kib).sum::<u64>() * 1024
    }
}

/// The fields of `/proc/<pid>/stat` from the state on (proc(5)); the name before them may hold spaces.
fn stat(pid: u32) -> Option<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = text.rsplit_once(") ")?;
    Some(fields.split_ascii_whitespace().map(ToOwned::to_owned).collect())
}

/// Numbers here are far below 2^53.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
pub fn to_f64(number: u64) -> f64 {
    number as f64
}
