//! A clean Debian for stories about installing (`scripts/in-debian`): such a test starts itself again in there.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::ExitStatus;

use anyhow::{Context, Result, ensure};
use chaffer_tests::{Api, Kind, Process, Scene, Shop, play, repository, target};

/// Where the Debian's nginx answers.
pub(crate) const FRONT: &str = "http://127.0.0.1";

/// Plays a story in a clean Debian of its own. `test` is the test's name with its module.
pub(crate) async fn in_debian(
    test: &str,
    story: impl AsyncFn(&Scene, &Debian) -> Result<()>,
) -> Result<()> {
    let name = test.rsplit("::").next().unwrap_or(test);
    play(name, Kind::Sqlite, async |scene| match std::env::var_os("IN_DEBIAN_ROOT") {
        Some(root) => story(scene, &Debian { root: root.into() }).await,
        None => enter(scene, test).await,
    })
    .await
}

async fn enter(scene: &Scene, test: &str) -> Result<()> {
    if std::fs::metadata("/proc/self")?.uid() != 0 {
        let is_ci = std::env::var("CI").is_ok_and(|value| !value.is_empty());
        ensure!(!is_ci, "only root can install: run CI as root");
        eprintln!("{test}: SKIPPED, since only root can install");
        return Ok(());
    }
    let binaries = scene.new_folder("binaries")?;
    for program in ["chaffer-api", "chaffer-push"] {
        // Without what a debugger needs, so that copying them takes no time.
        let stripped = binaries.join(program).display().to_string();
        let source = target(program)?.display().to_string();
        let strip = Process::new("strip", scene.folder(), scene.folder().join("strip.log"));
        strip.args(["-o", &stripped, &source]).run().await?;
    }
    broken(&binaries.join("broken"), "exit 1")?;
    let this = std::env::current_exe()?.display().to_string();
    let log = scene.folder().join("debian.log");
    let mut again = Process::new(repository().join("scripts/in-debian"), scene.folder(), log)
        .args([this, "--exact".into(), test.into(), "--nocapture".into()])
        .env("IN_DEBIAN_BINARIES", binaries.display().to_string());
    for name in ["CI", "CARGO_TARGET_DIR", "TMPDIR"] {
        if let Ok(value) = std::env::var(name) {
            again = again.env(name, value);
        }
    }
    let (status, output, errors) = again.outcome().await?;
    ensure!(status.success(), "in the clean Debian: {status}\n{output}\n{errors}");
    eprintln!("{output}");
    Ok(())
}

/// A version that answers every command, and does this when it has to serve.
fn broken(folder: &Path, serving: &str) -> Result<()> {
    std::fs::create_dir(folder)?;
    let script = format!(
        "#!/bin/sh\ncase \"$*\" in *--check*) ;; *serve*) {serving};; esac\nexec /mnt/binaries/chaffer-api \"$@\"\n"
    );
    std::fs::write(folder.join("chaffer-api"), script)?;
    std::fs::set_permissions(folder.join("chaffer-api"), PermissionsExt::from_mode(0o755))?;
    std::fs::hard_link(folder.with_file_name("chaffer-push"), folder.join("chaffer-push"))?;
    Ok(())
}

/// The clean Debian. Its network is ours, too.
pub(crate) struct Debian {
    root: PathBuf,
}

impl Debian {
    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    pub(crate) fn read(&self, path: &str) -> Result<String> {
        std::fs::read_to_string(self.path(path)).with_context(|| path.to_owned())
    }

    pub(crate) async fn run(&self, command: &[&str]) -> Result<(ExitStatus, String)> {
        let root = self.root.display().to_string();
        let process = Process::new("chroot", &self.root, self.path("/tmp/command.log"));
        let arguments = [root].into_iter().chain(command.iter().map(|part| (*part).to_owned()));
        let (status, output, errors) = process.args(arguments).outcome().await?;
        Ok((status, format!("{output}{errors}")))
    }

    pub(crate) async fn install(&self, options: &[&str]) -> Result<String> {
        let (status, output) = self.try_install(options).await?;
        ensure!(status.success(), "install.sh {options:?}: {status}\n{output}");
        Ok(output)
    }

    pub(crate) async fn try_install(&self, options: &[&str]) -> Result<(ExitStatus, String)> {
        let command = [&["/mnt/chaffer/deploy/install.sh"], options].concat();
        self.run(&command).await
    }

    /// The process of a program, and what it executes.
    pub(crate) async fn running(&self, program: &str) -> Result<(String, PathBuf)> {
        let (_, pid) = self.run(&["supervisorctl", "pid", program]).await?;
        let pid = pid.trim().to_owned();
        let exe = std::fs::read_link(format!("/proc/{pid}/exe"))?;
        Ok((pid, exe))
    }

    pub(crate) fn owner_and_mode(&self, path: &str) -> Result<(u32, u32, u32)> {
        let about = std::fs::metadata(self.path(path)).with_context(|| path.to_owned())?;
        Ok((about.uid(), about.gid(), about.mode() & 0o777))
    }

    /// The group of Chaffer's account, if there is one.
    pub(crate) fn group(&self) -> Result<Option<u32>> {
        let groups = self.read("/etc/group")?;
        let ours = groups.lines().find_map(|line| line.strip_prefix("chaffer:x:"));
        Ok(ours.and_then(|line| line.split(':').next()?.parse().ok()))
    }

    /// The newest backup, by its name; only the last few are kept.
    pub(crate) fn last_backup(&self) -> Result<Option<String>> {
        let mut names = Vec::new();
        for file in std::fs::read_dir(self.path("/var/lib/chaffer/backups"))? {
            names.push(file?.file_name().to_string_lossy().into_owned());
        }
        Ok(names.into_iter().filter(|name| name.starts_with("before-")).max())
    }
}

/// The shop's backend, with the key that the installer made.
pub(crate) fn shop(debian: &Debian) -> Result<Shop> {
    let key = debian.read("/etc/chaffer/api-key")?;
    Ok(Shop::new(&Api::new("http://127.0.0.1:8090")?, key.trim()))
}

pub(crate) async fn nginx_starts(debian: &Debian) -> Result<Api> {
    let (status, output) = debian.run(&["nginx"]).await?;
    ensure!(status.success(), "nginx: {output}");
    Api::new(FRONT)
}
