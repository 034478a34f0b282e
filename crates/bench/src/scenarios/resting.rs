//! Both daemons when nobody is there, as `make run` starts them: what they hold in memory.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, bail};

use super::in_folder;
use crate::process::{Daemon, to_f64};
use crate::servers::{answers, free_port};
use crate::sheet::{Bar, Sheet, Side};

const BOTH: &str = "both together, MiB";
/// What is needed only to start is given back by then.
const AT_REST: Duration = Duration::from_secs(5);

/// Runs it.
///
/// # Errors
/// When a daemon does not start.
pub fn run(repeats: usize) -> Result<Sheet> {
    let mut sheet =
        Sheet::new("resting: resident memory with the demo's data and nobody there", "");
    for _ in 0..repeats {
        in_folder(|folder| {
            let (api, websocket, pusher, http) =
                (free_port()?, free_port()?, free_port()?, free_port()?);
            let program = |name: &str, arguments: &[&str]| -> Result<Command> {
                let path: PathBuf = std::env::current_exe()?.with_file_name(name);
                let mut command = Command::new(path);
                command
                    .current_dir(folder)
                    .args(arguments)
                    .env("CHAFFER_API_LISTEN", api.to_string())
                    .env("CHAFFER_PUSH_WEBSOCKET_LISTEN", websocket.to_string())
                    .env("CHAFFER_PUSH_PUSHER_LISTEN", pusher.to_string())
                    .env("CHAFFER_PUSH_HTTP_LISTEN", http.to_string());
                Ok(command)
            };
            let config = ["--config", "data/chaffer.toml"];
            let init = program("chaffer-api", &["init", "--dir", "./data", "--demo"])?.output()?;
            if !init.status.success() {
                bail!("chaffer-api init: {}", String::from_utf8_lossy(&init.stderr));
            }
            let mut push = program("chaffer-push", &config)?;
            let mut push = Daemon::start("chaffer-push", &mut push, folder)?;
            let serve = ["serve", "--config", "data/chaffer.toml", "--api-demo", "true"];
            let mut server = program("chaffer-api", &serve)?;
            let mut server = Daemon::start("chaffer-api", &mut server, folder)?;
            push.wait_until(|| answers(http, "/readyz"))?;
            server.wait_until(|| answers(api, "/readyz"))?;
            std::thread::sleep(AT_REST);
            let mib = |daemon: &Daemon| to_f64(daemon.processes().resident_alone()) / 1048576.0;
            let (api, push) = (mib(&server), mib(&push));
            sheet.note("chaffer-api, MiB", Side::Ours, api);
            sheet.note("chaffer-push, MiB", Side::Ours, push);
            sheet.note(BOTH, Side::Ours, api + push);
            Ok(())
        })?;
    }
    sheet.expect(BOTH, Bar::AtMost(30.0));
    Ok(sheet)
}
