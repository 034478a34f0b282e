//! The guides of `docs/` as programs: their blocks, the machine that they are written for, and PHP to run them.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use crate::scene::repository;

/// One fenced block of a guide.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// What stands behind the fence.
    pub language: String,
    /// What stands inside, without the indentation of the fence.
    pub text: String,
    /// The line where it begins.
    pub line: usize,
}

impl Block {
    /// All blocks of a file in `docs/`.
    ///
    /// # Errors
    /// When it cannot be read, or a block has no end or no language.
    pub fn read(file: &str) -> Result<Vec<Self>> {
        let path = repository().join("docs").join(file);
        let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let mut blocks = Vec::new();
        let mut open: Option<(usize, Self)> = None;
        for (number, line) in text.lines().enumerate() {
            let bare = line.trim_start();
            match (&mut open, bare.strip_prefix("```")) {
                (None, Some(language)) => {
                    ensure!(!language.is_empty(), "{file}:{}: no language", number + 1);
                    let block =
                        Self { language: language.into(), text: String::new(), line: number + 1 };
                    open = Some((line.len() - bare.len(), block));
                }
                (Some(_), Some("")) => blocks.extend(open.take().map(|(_, block)| block)),
                (Some((indentation, block)), _) => {
                    block.text.push_str(line.get(*indentation..).unwrap_or(bare));
                    block.text.push('\n');
                }
                (None, None) => {}
            }
        }
        ensure!(open.is_none(), "{file}: a block has no end");
        ensure!(!blocks.is_empty(), "{file}: no blocks");
        Ok(blocks)
    }

    /// Replaces what stands for a place of the shop's machine by a place of this one.
    #[must_use]
    pub fn here(mut self, places: &BTreeMap<&str, String>) -> Self {
        // Longer names first: one may be the beginning of another.
        let mut places: Vec<_> = places.iter().collect();
        places.sort_by_key(|(place, _)| std::cmp::Reverse(place.len()));
        for (place, here) in places {
            self.text = self.text.replace(place, here);
        }
        self
    }

    /// Checks that the output holds what the block's comments `prints: ...` promise, in their order.
    ///
    /// # Errors
    /// With the output, when it does not.
    pub fn check(&self, output: &str) -> Result<()> {
        let mut rest = output;
        for promise in self.text.lines().filter_map(|line| line.split_once(" prints: ")) {
            let found = rest.split_once(promise.1.trim());
            let missing = || format!("line {}: it prints no `{}`: {output}", self.line, promise.1);
            rest = found.with_context(missing)?.1;
        }
        Ok(())
    }
}

/// A folder of programs that come before those of the machine, for blocks in `sh`.
#[derive(Debug)]
pub struct Shell {
    folder: PathBuf,
}

impl Shell {
    /// Blocks run in this folder.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn new(folder: &Path) -> Result<Self> {
        std::fs::create_dir_all(folder.join("bin"))?;
        Ok(Self { folder: folder.into() })
    }

    /// Puts a script at a path in the folder; `bin/NAME` comes before the machine's own program of that name.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn script(&self, path: &str, text: &str) -> Result<()> {
        let path = self.folder.join(path);
        std::fs::create_dir_all(path.parent().context("no folder")?)?;
        std::fs::write(&path, format!("#!/bin/bash\nset -euo pipefail\n{text}\n"))?;
        Ok(std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755))?)
    }

    /// Runs a block; what it printed.
    ///
    /// # Errors
    /// When one of its commands fails.
    pub async fn run(&self, text: &str) -> Result<String> {
        let path = std::env::var("PATH").unwrap_or_default();
        let path = format!("{}:{path}:/usr/sbin", self.folder.join("bin").display());
        let mut command = Command::new("bash");
        command.args(["-euo", "pipefail", "-c", text]).current_dir(&self.folder);
        command.env("PATH", path).stdin(Stdio::null());
        let output = tokio::task::spawn_blocking(move || command.output()).await??;
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        let errors = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{text}\n{}: {told}\n{errors}", output.status);
        Ok(told)
    }
}

/// One PHP process that runs block after block, so that what one defines the next one has.
#[derive(Debug)]
pub struct Php {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    folder: PathBuf,
    blocks: usize,
}

const PHP_DRIVER: &str = r#"<?php
error_reporting(E_ALL);
set_error_handler(function ($number, $text, $file, $line) {
    throw new ErrorException($text, 0, $number, $file, $line);
});
while (($chaffer_block = fgets(STDIN)) !== false) {
    include trim($chaffer_block);
    echo "\n-- done --\n";
}
"#;

impl Php {
    /// Starts it; its errors go to `php.log` in the folder.
    ///
    /// # Errors
    /// When PHP is not installed.
    pub fn start(folder: &Path) -> Result<Self> {
        let driver = folder.join("driver.php");
        std::fs::write(&driver, PHP_DRIVER)?;
        let log = std::fs::File::create(folder.join("php.log"))?;
        let mut child = Command::new("php")
            .args(["-d", "display_errors=stderr"])
            .arg(driver)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .context("cannot start php: is php-cli installed?")?;
        let input = child.stdin.take().context("no input")?;
        let output = BufReader::new(child.stdout.take().context("no output")?);
        Ok(Self { child, input, output, folder: folder.into(), blocks: 0 })
    }

    /// Runs a block; what it printed.
    ///
    /// # Errors
    /// When PHP ends or complains.
    pub fn run(&mut self, text: &str) -> Result<String> {
        self.blocks += 1;
        let path = self.folder.join(format!("block-{}.php", self.blocks));
        std::fs::write(&path, format!("<?php\n{text}"))?;
        self.include(&path)
    }

    /// Runs a file of the folder.
    ///
    /// # Errors
    /// When PHP ends or complains.
    pub fn include(&mut self, path: &Path) -> Result<String> {
        tokio::task::block_in_place(|| {
            writeln!(self.input, "{}", path.display())?;
            let mut printed = String::new();
            loop {
                let mut line = String::new();
                if self.output.read_line(&mut line)? == 0 {
                    let log = std::fs::read_to_string(self.folder.join("php.log"))?;
                    bail!("{} failed: {printed}\n{log}", path.display());
                }
                if line == "-- done --\n" {
                    return Ok(printed);
                }
                printed.push_str(&line);
            }
        })
    }
}

impl Drop for Php {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A page's script in Node.js, which prints JSON, a line each.
#[derive(Debug)]
pub struct Page {
    child: Child,
    input: ChildStdin,
    lines: std::sync::mpsc::Receiver<String>,
}

impl Page {
    /// Starts a module; the packages of `web/` can be imported by it.
    ///
    /// # Errors
    /// When Node.js or the packages are missing.
    pub fn start(folder: &Path, text: &str) -> Result<Self> {
        let modules = repository().join("web/node_modules");
        ensure!(modules.join("ws").is_dir(), "npm's packages are missing: run scripts/test");
        let link = folder.join("node_modules");
        if !link.exists() {
            std::os::unix::fs::symlink(modules, link)?;
        }
        let path = folder.join("page.mjs");
        std::fs::write(&path, text)?;
        Self::node(folder, &[path.display().to_string()])
    }

    /// Starts Node.js with these arguments.
    ///
    /// # Errors
    /// When it is missing.
    pub fn node(folder: &Path, arguments: &[String]) -> Result<Self> {
        let mut child = Command::new("node")
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(folder.join("node.log"))?)
            .spawn()
            .context("cannot start node")?;
        let input = child.stdin.take().context("no input")?;
        let output = BufReader::new(child.stdout.take().context("no output")?);
        let (sender, lines) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Ok(Self { child, input, lines })
    }

    /// Gives it a line to read.
    ///
    /// # Errors
    /// When it has ended.
    pub fn tell(&mut self, line: &serde_json::Value) -> Result<()> {
        Ok(writeln!(self.input, "{line}")?)
    }

    /// The next line.
    ///
    /// # Errors
    /// When none comes in time.
    pub fn next(&self) -> Result<serde_json::Value> {
        let line = tokio::task::block_in_place(|| self.lines.recv_timeout(crate::PATIENCE));
        Ok(serde_json::from_str(&line.context("the page prints nothing")?)?)
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
