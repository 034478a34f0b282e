//! Broken installations, each named by its cause.

use std::os::unix::fs::PermissionsExt;

use anyhow::{Context, Result, ensure};
use chaffer_tests::{
    ObjectStorage, PATIENCE, Process, Scene, Setup, Stack, free_port, target, until,
};
use serde_json::Value;
use tokio::net::TcpStream;

stories!(
    doctor_finds_nothing_wrong_with_a_good_installation,
    doctor_names_what_is_wrong_on_the_way_of_the_socket,
    doctor_names_the_daemon_that_is_wrong,
    doctor_names_the_setting_that_is_wrong,
    doctor_names_what_is_wrong_with_the_database,
    doctor_names_what_is_wrong_with_the_bucket,
);

/// nginx as it should be, on the way to the push daemon.
const GOOD: &str = "proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; \
                    proxy_set_header Connection \"upgrade\"; proxy_set_header Host $host;";

/// What the doctor says, with some settings of its own.
async fn examine(stack: &Stack, settings: &[(&str, &str)]) -> Result<Value> {
    let mut doctor = stack.command(&["doctor", "--json"])?;
    for (name, value) in settings {
        doctor = doctor.env(name, *value);
    }
    let (status, output, errors) = doctor.outcome().await?;
    let report: Value =
        serde_json::from_str(&output).with_context(|| format!("{output}{errors}"))?;
    ensure!(report["ok"] == status.success(), "{status}: {report}");
    Ok(report)
}

/// The doctor finds this, and says it with these words.
async fn finds(
    stack: &Stack,
    settings: &[(&str, &str)],
    check: &str,
    status: &str,
    words: &[&str],
) -> Result<()> {
    let report = examine(stack, settings).await?;
    let found = report["checks"].as_array().into_iter().flatten();
    let found = found.filter(|it| it["check"] == check).find(|it| it["status"] == status);
    let found = found.with_context(|| format!("{check} is not {status}: {report:#}"))?;
    let text = format!("{} {}", found["detail"], found["mend"]);
    for word in words {
        ensure!(text.contains(word), "{check}: `{word}` is not in {text}");
    }
    ensure!(found["mend"].is_string(), "{check}: it does not say how to mend it: {found}");
    ensure!(report["ok"] == (status == "warning"), "{check}: more is wrong than that: {report:#}");
    Ok(())
}

/// An nginx with one server on a free port, started: one process, so that nothing of it is left when it is dropped.
async fn nginx(scene: &Scene, listen: &str, server: &str) -> Result<(Process, u16)> {
    let (folder, port) = (scene.new_folder("nginx")?, free_port()?);
    let here = folder.display();
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path {here}/{kind};\n"))
        .concat();
    std::fs::write(
        folder.join("nginx.conf"),
        format!(
            "daemon off;\nmaster_process off;\npid {here}/nginx.pid;\nerror_log {here}/error.log;\n\
             events {{ worker_connections 64; }}\nhttp {{\n{temporary}access_log off;\n\
             server {{\nlisten 127.0.0.1:{port}{listen};\n{server}\n}}\n}}\n"
        ),
    )?;
    let mut nginx = Process::new("nginx", &folder, folder.join("nginx.log")).args([
        "-c".to_owned(),
        folder.join("nginx.conf").display().to_string(),
        "-e".into(),
        format!("{here}/start.log"),
    ]);
    nginx.start()?;
    until("nginx listens", async || {
        ensure!(nginx.is_running(), "{}", nginx.output());
        Ok(TcpStream::connect(("127.0.0.1", port)).await.is_ok())
    })
    .await?;
    Ok((nginx, port))
}

fn location(stack: &Stack, more: &str) -> String {
    let port = stack.ports.websocket;
    format!("location = /ws {{ proxy_pass http://127.0.0.1:{port}; {more} }}")
}

async fn doctor_finds_nothing_wrong_with_a_good_installation(scene: &Scene) -> Result<()> {
    let mut stack = Stack::start(scene).await?;
    std::fs::set_permissions(&stack.config, std::fs::Permissions::from_mode(0o600))?;
    let (_nginx, port) = nginx(scene, "", &location(&stack, GOOD)).await?;
    stack.set("api.websocket_url", format!("ws://127.0.0.1:{port}/ws"))?;
    let report = examine(&stack, &[]).await?;
    let bad = report["checks"].as_array().into_iter().flatten().filter(|it| it["status"] != "ok");
    // On a machine with little room on its disks that may be said.
    let bad: Vec<_> = bad.filter(|it| it["check"] != "disk").collect();
    ensure!(report["ok"] == true && bad.is_empty(), "{bad:#?}");
    let seen = |check: &str| {
        report["checks"].as_array().is_some_and(|all| all.iter().any(|it| it["check"] == check))
    };
    for check in ["database_clock", "link_keys_agree", "zeromq", "link_in", "link_out", "websocket"]
    {
        ensure!(seen(check), "it did not look at {check}");
    }
    // For people, too.
    let text = stack.command(&["doctor"])?.run().await?;
    ensure!(text.contains("ok      websocket: upgrades"), "{text}");
    for secret in [&stack.key, "0123456789abcdef"] {
        ensure!(!text.contains(secret) && !report.to_string().contains(secret), "{text}");
    }
    Ok(())
}

async fn doctor_names_what_is_wrong_on_the_way_of_the_socket(scene: &Scene) -> Result<()> {
    let stack = private(Stack::start(scene).await?)?;
    let says = async |listen: &str, server: &str, scheme: &str, words: &[&str]| -> Result<()> {
        let (_nginx, port) = nginx(scene, listen, server).await?;
        let url = format!("{scheme}://127.0.0.1:{port}/ws");
        finds(&stack, &[("CHAFFER_API_WEBSOCKET_URL", &url)], "websocket", "failed", words).await
    };
    // The usual ones: nginx hands requests on without what upgrades them.
    let lost = ["`Upgrade` header was lost", "proxy_set_header Upgrade $http_upgrade"];
    says("", &location(&stack, ""), "ws", &lost).await?;
    says("", &location(&stack, "proxy_http_version 1.1;"), "ws", &lost).await?;
    says("", "location / { return 404; }", "ws", &["404", "chaffer-locations.conf"]).await?;
    says("", "location / { return 200 'a page of the shop'; }", "ws", &["answers 200"]).await?;
    let moved = "location / { return 301 https://shop.example$request_uri; }";
    says("", moved, "ws", &["redirects to https://shop.example/ws"]).await?;
    let nobody = format!("location / {{ proxy_pass http://127.0.0.1:{}; {GOOD} }}", free_port()?);
    says("", &nobody, "ws", &["502", "does not reach chaffer-push"]).await?;
    // A certificate that nobody has signed.
    let (key, certificate) = (scene.folder().join("key.pem"), scene.folder().join("cert.pem"));
    let request = scene.folder().join("openssl.cnf");
    std::fs::write(
        &request,
        "[req]\nprompt = no\ndistinguished_name = name\nx509_extensions = server\n[name]\nCN = 127.0.0.1\n\
         [server]\nbasicConstraints = CA:FALSE\nsubjectAltName = IP:127.0.0.1\n",
    )?;
    Process::new("openssl", scene.folder(), scene.folder().join("openssl.log"))
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"])
        .args(["-days".to_owned(), "2".into(), "-config".into(), request.display().to_string()])
        .args(["-keyout".to_owned(), key.display().to_string()])
        .args(["-out".to_owned(), certificate.display().to_string()])
        .run()
        .await?;
    let tls = format!(
        "ssl_certificate {}; ssl_certificate_key {}; {}",
        certificate.display(),
        key.display(),
        location(&stack, GOOD)
    );
    says(" ssl", &tls, "wss", &["no TLS", "certificate"]).await?;
    // The same with a certificate that this machine trusts.
    let (_nginx, port) = nginx(scene, " ssl", &tls).await?;
    let url = format!("wss://127.0.0.1:{port}/ws");
    let trusted = certificate.display().to_string();
    let settings = [("CHAFFER_API_WEBSOCKET_URL", url.as_str()), ("SSL_CERT_FILE", &trusted)];
    let report = examine(&stack, &settings).await?;
    ensure!(report["ok"] == true, "{report:#}");
    // Nothing at all.
    let url = format!("ws://127.0.0.1:{}/ws", free_port()?);
    let settings = [("CHAFFER_API_WEBSOCKET_URL", url.as_str())];
    finds(&stack, &settings, "websocket", "failed", &["cannot connect", "nginx"]).await?;
    let settings = [("CHAFFER_API_WEBSOCKET_URL", "ws://no-such-host.invalid/ws")];
    finds(&stack, &settings, "websocket", "failed", &["no-such-host.invalid:80"]).await
}

/// As `chaffer-api init` writes it: not for everybody to read.
fn private(stack: Stack) -> Result<Stack> {
    std::fs::set_permissions(&stack.config, std::fs::Permissions::from_mode(0o600))?;
    Ok(stack)
}

async fn doctor_names_the_daemon_that_is_wrong(scene: &Scene) -> Result<()> {
    let mut stack = private(Stack::start(scene).await?)?;
    // Each daemon with another key than the file has, as after a change without a restart.
    let other = "another-key-for-tests-0123456789abcdef";
    finds(
        &stack,
        &[("CHAFFER_KEYS_LINK", other)],
        "link_keys_agree",
        "failed",
        &["keys.link", "restart"],
    )
    .await?;
    finds(&stack, &[("CHAFFER_KEYS_LINK", other)], "api_keys", "failed", &["keys.link"]).await?;
    let token = format!("k9:{other}");
    let settings = [("CHAFFER_KEYS_TOKEN", token.as_str())];
    finds(&stack, &settings, "token_keys_agree", "failed", &["keys.token", "restart"]).await?;
    finds(&stack, &settings, "websocket", "failed", &["our token is refused"]).await?;
    // Something else at the pusher port: the API itself, say.
    let endpoint = format!("tcp://127.0.0.1:{}", free_port()?);
    let settings = [("CHAFFER_API_PUBLISH_TO", endpoint.as_str())];
    finds(&stack, &settings, "zeromq", "failed", &["refused", "push.pusher_listen"]).await?;
    // One daemon is down.
    stack.push.stop(Stack::STOP).await?;
    finds(&stack, &[], "push", "failed", &["does not answer", "start it"]).await?;
    // It came back with few descriptors.
    let log = stack.folder().join("limited.log");
    let command = format!(
        "ulimit -n 512 && exec {} --config {}",
        target("chaffer-push")?.display(),
        stack.config.display()
    );
    let mut limited = Process::new("sh", stack.folder(), log).args(["-c".to_owned(), command]);
    limited.start()?;
    stack.push_ready_without_process().await?;
    let url = [("CHAFFER_API_WEBSOCKET_URL", stack.websocket_url())];
    let url = [(url[0].0, url[0].1.as_str())];
    finds(&stack, &url, "file_limit", "warning", &["512", "minfds"]).await?;
    limited.stop(PATIENCE).await?;
    // And with a clock of its own.
    let log = stack.folder().join("late.log");
    let mut late = Process::new(target("chaffer-push")?, stack.folder(), log)
        .args(["--config".to_owned(), stack.config.display().to_string()])
        .env("LD_PRELOAD", "/usr/$LIB/faketime/libfaketimeMT.so.1")
        .env("FAKETIME", "-10m")
        .env("DONT_FAKE_MONOTONIC", "1");
    late.start()?;
    stack.push_ready_without_process().await?;
    finds(&stack, &url, "push_clock", "failed", &["behind our clock", "NTP"]).await?;
    late.stop(PATIENCE).await?;
    stack.push.start()?;
    stack.ready().await?;
    stack.api.stop(Stack::STOP).await?;
    finds(&stack, &url, "api", "failed", &["chaffer-api does not answer", "start it"]).await
}

async fn doctor_names_the_setting_that_is_wrong(scene: &Scene) -> Result<()> {
    let stack = private(Stack::start(scene).await?)?;
    let cases: [(&str, &str, &str, &str, &[&str]); 8] = [
        ("CHAFFER_API_TRUSTED_IPS", "", "trusted_ips", "failed", &["no call", "trusted_ips = ["]),
        ("CHAFFER_API_TRUSTED_IPS", "0.0.0.0/0", "trusted_ips", "warning", &["everywhere"]),
        ("CHAFFER_PUSH_LEGACY_TOPICS", "*", "legacy_topics", "warning", &["guesses", "list"]),
        ("CHAFFER_API_DEMO", "true", "demo", "failed", &["anybody"]),
        ("CHAFFER_KEYS_TOKEN", "", "keys", "failed", &["keys.token", "key create --kind token"]),
        (
            "CHAFFER_KEYS_SHOP",
            "a-link-key-for-tests-0123456789abcdef",
            "keys",
            "failed",
            &["keys.link and keys.shop", "same key"],
        ),
        ("CHAFFER_API_LISSTEN", "x", "configuration", "failed", &["CHAFFER_API_LISTEN"]),
        ("CHAFFER_LOG_FORMAT", "xml", "configuration", "failed", &["log.format"]),
    ];
    for (name, value, check, status, words) in cases {
        finds(&stack, &[(name, value)], check, status, words).await?;
    }
    let open = format!("0.0.0.0:{}", stack.ports.pusher);
    let settings = [("CHAFFER_PUSH_PUSHER_LISTEN", open.as_str())];
    finds(&stack, &settings, "pusher_port", "warning", &["beyond this machine", "firewall"])
        .await?;
    let settings = [
        ("CHAFFER_API_ALLOWED_ORIGINS", "https://shop.example"),
        ("CHAFFER_API_WEBSOCKET_URL", "ws://shop.example/ws"),
    ];
    let report = examine(&stack, &settings).await?;
    ensure!(report.to_string().contains("forbid on https pages"), "{report:#}");
    std::fs::set_permissions(&stack.config, std::fs::Permissions::from_mode(0o644))?;
    finds(&stack, &[], "configuration", "failed", &["can read", "chmod 640"]).await
}

async fn doctor_names_what_is_wrong_with_the_database(scene: &Scene) -> Result<()> {
    let stack = private(Stack::start(scene).await?)?;
    let nowhere = match scene.kind {
        chaffer_tests::Kind::Sqlite => "sqlite:///nowhere/chaffer.db".to_owned(),
        chaffer_tests::Kind::Mariadb => format!("{}_not_there", stack.database.url),
    };
    finds(&stack, &[("CHAFFER_DATABASE_URL", &nowhere)], "database", "failed", &["database.url"])
        .await?;
    let strange = [("CHAFFER_DATABASE_URL", "oracle://x")];
    finds(&stack, &strange, "database", "failed", &["sqlite://path/to/file"]).await?;
    let fresh = scene.new_database().await?;
    if scene.kind == chaffer_tests::Kind::Mariadb {
        let settings = [("CHAFFER_DATABASE_URL", fresh.url.as_str())];
        finds(&stack, &settings, "migrations", "failed", &["lack", "chaffer-api migrate"]).await?;
    }
    let sql = "INSERT INTO __diesel_schema_migrations (version, run_on) VALUES ('99991231235959', '2026-11-21 00:00:00')";
    stack.database.query(sql).await?;
    finds(&stack, &[], "migrations", "failed", &["99991231235959", "install the version"]).await
}

async fn doctor_names_what_is_wrong_with_the_bucket(scene: &Scene) -> Result<()> {
    let mut storage = ObjectStorage::start(scene).await?;
    let stack = private(storage.configure(Setup::new(scene)?).start(scene).await?)?;
    let report = examine(&stack, &[]).await?;
    ensure!(report.to_string().contains("takes, gives and removes files"), "{report:#}");
    ensure!(storage.keys().await?.is_empty(), "it leaves nothing behind");
    for (name, value, words) in [
        ("CHAFFER_FILES_S3_SECRET_KEY", "another-one", ["SignatureDoesNotMatch", "s3_secret_key"]),
        ("CHAFFER_FILES_S3_ACCESS_KEY", "somebody", ["InvalidAccessKeyId", "s3_access_key"]),
        ("CHAFFER_FILES_S3_ACCESS_KEY", "", ["s3_access_key is not set", "set it"]),
        ("CHAFFER_FILES_S3_BUCKET", "not-there", ["NoSuchBucket", "make the bucket"]),
        ("CHAFFER_FILES_S3_ENDPOINT", "http://127.0.0.1:9", ["refused", "files.s3_endpoint"]),
    ] {
        finds(&stack, &[(name, value)], "bucket", "failed", &words).await.context(name)?;
    }
    storage.kill()?;
    finds(&stack, &[], "bucket", "failed", &["refused", "start the storage"]).await
}
