//! Where a story plays: its folder, its kind of database, and what is shown when it fails.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use crate::database::{Database, Kind};

/// No story may take longer.
const LIMIT: Duration = Duration::from_secs(600);

/// How much of each log is shown when a story fails, in bytes.
const TAIL: usize = 6000;

/// One story's folder and kind of database.
#[derive(Debug)]
pub struct Scene {
    /// On which kind of database the story plays.
    pub kind: Kind,
    name: String,
    folder: TempDir,
    folders: AtomicUsize,
}

/// Plays a story on one kind of database.
///
/// # Errors
/// The story's own, or that it took too long; the tails of all logs are printed then.
pub async fn play(
    name: &str,
    kind: Kind,
    story: impl AsyncFnOnce(&Scene) -> Result<()>,
) -> Result<()> {
    if let Some(missing) = kind.missing() {
        if std::env::var("CI").is_ok_and(|value| !value.is_empty()) {
            bail!("{missing}");
        }
        note(&format!("{name}: SKIPPED on {kind:?}: {missing}"));
        return Ok(());
    }
    let scene = Scene::new(name, kind)?;
    let result = match tokio::time::timeout(LIMIT, story(&scene)).await {
        Ok(result) => result,
        Err(_) => Err(anyhow::anyhow!("the story took longer than {LIMIT:?}")),
    };
    if result.is_err() {
        scene.show_logs();
    }
    result
}

impl Scene {
    fn new(name: &str, kind: Kind) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix(&format!("chaffer-{name}-")).tempdir()?;
        Ok(Self { kind, name: name.into(), folder, folders: AtomicUsize::new(0) })
    }

    /// The story's own folder; what ends in `.log` in it or below is shown when the story fails.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A new folder in the story's own.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn new_folder(&self, name: &str) -> Result<PathBuf> {
        let number = self.folders.fetch_add(1, Ordering::Relaxed);
        let path = self.folder().join(format!("{name}-{number}"));
        std::fs::create_dir(&path)?;
        Ok(path)
    }

    /// A new, empty database of the story's kind.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn new_database(&self) -> Result<Database> {
        Database::create(self, self.kind).await
    }

    /// A new, empty database of another kind.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn new_database_of(&self, kind: Kind) -> Result<Database> {
        Database::create(self, kind).await
    }

    fn show_logs(&self) {
        let mut folders = vec![self.folder().to_owned()];
        while let Some(folder) = folders.pop() {
            for path in std::fs::read_dir(folder).into_iter().flatten().flatten().map(|e| e.path())
            {
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|extension| extension == "log") {
                    let bytes = std::fs::read(&path).unwrap_or_default();
                    let tail = bytes.get(bytes.len().saturating_sub(TAIL)..).unwrap_or_default();
                    let text = String::from_utf8_lossy(tail);
                    note(&format!(
                        "--- {} on {:?}: {}\n{text}",
                        self.name,
                        self.kind,
                        path.display()
                    ));
                }
            }
        }
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.show_logs();
        }
    }
}

/// The root of the repository.
#[must_use]
pub fn repository() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_owned()
}

/// A program built with the same profile as the tests.
///
/// # Errors
/// When it is not there.
pub fn target(program: &str) -> Result<PathBuf> {
    let test = std::env::current_exe()?;
    let folder = test.ancestors().nth(2).context("the tests run from no target folder")?;
    let path = folder.join(program);
    if !path.is_file() {
        bail!("{} is not built: run scripts/test, or `cargo build --workspace`", path.display());
    }
    Ok(path)
}

/// A program that `scripts/test` has installed from PyPI.
///
/// # Errors
/// When the tests run from no target folder.
pub fn installed(program: &str) -> Result<PathBuf> {
    let programs = target("chaffer-api")?;
    let folder = programs.ancestors().nth(2).context("no target folder")?;
    Ok(folder.join("python/bin").join(program))
}

#[expect(clippy::print_stderr, reason = "a test's own output, shown when it fails")]
fn note(text: &str) {
    eprintln!("{text}");
}
