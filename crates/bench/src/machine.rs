//! What was measured on what: for the head of the report.

use std::fmt::Write;
use std::fs;
use std::process::Command;

/// The machine and the versions, as a list in Markdown.
#[must_use]
pub fn describe() -> String {
    let processor = field("/proc/cpuinfo", "model name", ':');
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let memory = field("/proc/meminfo", "MemTotal", ':');
    let system = field("/etc/os-release", "PRETTY_NAME", '=');
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let mut text = format!(
        "- {cores} cores ({processor}), {memory} of memory, {system}, Linux {}\n- chaffer {}\n",
        kernel.trim(),
        env!("CARGO_PKG_VERSION"),
    );
    for package in ["nginx", "libnginx-mod-nchan", "prosody", "mariadb-server", "sqlite3"] {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "- {package} {}", version(package));
    }
    text
}

/// The first value under a name in a file of `name : value` lines.
fn field(path: &str, name: &str, separator: char) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    let value = text.lines().find_map(|line| {
        let (key, value) = line.split_once(separator)?;
        (key.trim() == name).then(|| value.trim().trim_matches('"').to_owned())
    });
    value.unwrap_or_else(|| "unknown".into())
}

fn version(package: &str) -> String {
    let output = Command::new("dpkg-query").args(["-W", "-f=${Version}", package]).output();
    let version = output.ok().filter(|output| output.status.success());
    let version = version.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    version.unwrap_or_else(|| "of unknown version".into())
}
