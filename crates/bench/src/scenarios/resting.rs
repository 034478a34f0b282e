//! Both daemons when nobody is there, built and started as `make run` does: what they hold in memory. Beside them the same built
//! with MariaDB's client library, as an installation has it: it brings a dozen others along.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::in_folder;
use crate::process::{Daemon, to_f64};
use crate::servers::{answers, free_port};
use crate::sheet::{Bar, Sheet, Side};

const BOTH: &str = "both together, MiB";
/// Where `scripts/bench` puts the programs as `make run` builds them, beside ours.
const AS_RUN: &str = "as-run";
/// What is needed only to start is given back by then.
const AT_REST: Duration = Duration::from_secs(5);

/// Runs it.
///
/// # Errors
/// When a daemon does not start.
pub fn run(repeats: usize) -> Result<Sheet> {
    let mut sheet =
        Sheet::new("resting: resident memory with the demo's data and nobody there", "");
    let here = std::env::current_exe()?;
    let here = here.parent().context("this program stands nowhere")?;
    for _ in 0..repeats {
        let (api, push) = in_folder(|folder| measure(folder, &here.join(AS_RUN)))?;
        sheet.note("chaffer-api, MiB", Side::Ours, api);
        sheet.note("chaffer-push, MiB", Side::Ours, push);
        sheet.note(BOTH, Side::Ours, api + push);
        let (api, push) = in_folder(|folder| measure(folder, here))?;
        sheet.note("both, with MariaDB's client library, MiB", Side::Ours, api + push);
    }
    sheet.expect(BOTH, Bar::AtMost(30.0));
    Ok(sheet)
}

/// The API's and the push daemon's resident MiB, of the programs in that folder.
fn measure(folder: &Path, programs: &Path) -> Result<(f64, f64)> {
    let (api, websocket, pusher, http) = (free_port()?, free_port()?, free_port()?, free_port()?);
    let program = |name: &str, arguments: &[&str]| -> Command {
        let mut command = Command::new(programs.join(name));
        command
            .current_dir(folder)
            .args(arguments)
            .env("CHAFFER_API_LISTEN", api.to_string())
            .env("CHAFFER_PUSH_WEBSOCKET_LISTEN", websocket.to_string())
            .env("CHAFFER_PUSH_PUSHER_LISTEN", pusher.to_string())
            .env("CHAFFER_PUSH_HTTP_LISTEN", http.to_string());
        command
    };
    let config = ["--config", "data/chaffer.toml"];
    let init = program("chaffer-api", &["init", "--dir", "./data", "--demo"]).output()?;
    if !init.status.success() {
        bail!("chaffer-api init: {}", String::from_utf8_lossy(&init.stderr));
    }
    let mut push = Daemon::start("chaffer-push", &mut program("chaffer-push", &config), folder)?;
    let serve = ["serve", "--config", "data/chaffer.toml", "--api-demo", "true"];
    let mut server = Daemon::start("chaffer-api", &mut program("chaffer-api", &serve), folder)?;
    push.wait_until(|| answers(http, "/readyz"))?;
    server.wait_until(|| answers(api, "/readyz"))?;
    std::thread::sleep(AT_REST);
    let mib = |daemon: &Daemon| to_f64(daemon.processes().resident_alone()) / 1048576.0;
    Ok((mib(&server), mib(&push)))
}
