//! RFC 6455 in full: the cases of the Autobahn test suite, run by `kosoku` against the daemon's own handshake,
//! reading, writing and closing. Not the cases of performance (9) and of compression, which is not negotiated (12, 13).

use std::path::PathBuf;

use serde_json::Value;

use crate::support::*;

/// The folder of programs in the virtual environment that `scripts/test` makes in the build folder.
fn programs() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.ancestors().nth(3).unwrap().join("python/bin")
}

#[tokio::test(flavor = "multi_thread")]
async fn no_case_of_the_autobahn_test_suite_fails() {
    let program = programs().join("kosoku");
    if missing(&program.display().to_string(), program.is_file()) {
        return;
    }
    let daemon = Daemon::start().await;
    let reports = tempfile::tempdir().unwrap();
    // The script's first line names the place where it was installed, which a build folder that was moved or copied no
    // longer has.
    let mut command = std::process::Command::new(programs().join("python"));
    command.arg(program);
    command.args(["-m", "fuzzingclient", "-p", "8", "-o"]).arg(reports.path());
    command.args(["-x", "9.*", "-x", "12.*", "-x", "13.*"]);
    command.arg(format!("ws://{}/echo", daemon.websocket));
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    let index =
        std::fs::read(reports.path().join("index.json")).unwrap_or_else(|_| panic!("{told}"));
    let index: Value = serde_json::from_slice(&index).unwrap();
    let cases = index.as_object().unwrap().values().next().unwrap().as_object().unwrap();
    let passes =
        |verdict: &Value| matches!(verdict.as_str(), Some("OK" | "NON-STRICT" | "INFORMATIONAL"));
    let failed: Vec<_> = cases
        .iter()
        .filter(|(_, case)| !passes(&case["behavior"]) || !passes(&case["behaviorClose"]))
        .collect();
    assert!(failed.is_empty() && output.status.success(), "{failed:?}\n{told}");
    // So many are left without 9, 12 and 13: none was passed over.
    assert_eq!(cases.len(), 247);
    until("the end of the sockets", async || daemon.metrics.sockets.get() == 0).await;
}
