//! The two daemons as they run: are they there, do they have the settings that stand in the file, does the link between
//! them hold.

use chaffer_shared::config::{Config, fingerprint};
use chaffer_shared::health::{About, Readiness};
use chaffer_shared::link::LinkKeys;
use reqwest::Client;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{PATIENCE, Report, database, reasons};

/// Descriptors below which a shop of some size stands before a wall.
const FEW_FILES: u64 = 4096;

pub(super) async fn check(config: &Config, client: &Client, report: &mut Report) {
    let api = api(config, client, report).await;
    let push = push(config, client, report).await;
    port(config, report).await;
    link(config, client, api && push, report).await;
}

/// Whether the API answers.
async fn api(config: &Config, client: &Client, report: &mut Report) -> bool {
    let url = config.api_url();
    let answer = match client.get(format!("{url}/healthz")).send().await {
        Ok(answer) => answer,
        Err(error) => {
            report.fail(
                "api",
                format!("chaffer-api does not answer at {url}: {}", reasons(&error)),
                "start it (supervisorctl start chaffer-api) and look into its log; is it at api.listen (push.api_url)?",
            );
            return false;
        }
    };
    if answer.status() != 200 {
        let status = answer.status();
        let mend = "something else listens there: correct api.listen or push.api_url";
        report.fail("api", format!("{url}/healthz answers {status}"), mend);
        return false;
    }
    report.ok("api", format!("chaffer-api answers at {url}"));
    let bearer = LinkKeys::parse(&config.keys.link).ok().and_then(|keys| keys.internal_bearer());
    if let Some(bearer) = bearer {
        let call = client.get(format!("{url}/internal/v1/events?limit=1")).bearer_auth(bearer);
        match call.send().await.map(|answer| answer.status().as_u16()) {
            Ok(200) => {
                report.ok("api_keys", "chaffer-api runs with the keys.link of the configuration")
            }
            Ok(401) => report.fail(
                "api_keys",
                "chaffer-api runs with another keys.link than the configuration has",
                "restart chaffer-api, with the same configuration file",
            ),
            Ok(status) => report.fail(
                "api_keys",
                format!("{url}/internal/v1/events answers {status}"),
                "look into the log of chaffer-api",
            ),
            Err(error) => {
                report.fail("api_keys", reasons(&error), "look into the log of chaffer-api");
            }
        }
    }
    true
}

/// Whether the push daemon answers, and what it runs with.
async fn push(config: &Config, client: &Client, report: &mut Report) -> bool {
    let url = config.push_http_url();
    let answer = match client.get(format!("{url}/about")).send().await {
        Ok(answer) => answer.json::<About>().await,
        Err(error) => Err(error),
    };
    let about = match answer {
        Ok(about) => about,
        Err(error) => {
            report.fail(
                "push",
                format!("chaffer-push does not answer at {url}: {}", reasons(&error)),
                "start it (supervisorctl start chaffer-push) and look into its log; is it at push.http_listen (api.push_http_url)?",
            );
            return false;
        }
    };
    if about.version == env!("CARGO_PKG_VERSION") {
        report.ok("push", format!("chaffer-push {} answers at {url}", about.version));
    } else {
        let ours = env!("CARGO_PKG_VERSION");
        report.warn(
            "push",
            format!("chaffer-push is version {}, this is {ours}", about.version),
            "upgrade and restart both together",
        );
    }
    let ours = |keys: &[String]| keys.iter().map(|key| fingerprint(key)).collect::<Vec<_>>();
    for (check, kind, ours, theirs) in [
        ("token_keys_agree", "token", ours(&config.keys.token), &about.token_keys),
        ("link_keys_agree", "link", ours(&config.keys.link), &about.link_keys),
    ] {
        // What the one signs with, the other has to know.
        if ours.first().is_none_or(|first| theirs.contains(first)) {
            report.ok(check, format!("chaffer-push knows the keys.{kind} in use"));
        } else {
            report.fail(
                check,
                format!("chaffer-push runs with another keys.{kind} than the configuration has"),
                "restart chaffer-push; both daemons need the same configuration file",
            );
        }
    }
    database::clocks("push_clock", "chaffer-push", about.now.naive_utc(), report);
    if about.file_limit < FEW_FILES {
        report.warn(
            "file_limit",
            format!(
                "chaffer-push may open {} descriptors: about so many browser tabs, and no more",
                about.file_limit
            ),
            "minfds=65536 in supervisord.conf, or LimitNOFILE=65536 in the systemd unit, and a restart",
        );
    } else {
        let limit = about.file_limit;
        report.ok("file_limit", format!("chaffer-push may open {limit} descriptors"));
    }
    true
}

/// Whether what listens at the pusher port speaks ZeroMQ: it greets everybody who connects.
async fn port(config: &Config, report: &mut Report) {
    let endpoint = config.publish_to();
    let address = endpoint.trim_start_matches("tcp://").to_owned();
    let greet = async {
        let mut stream = TcpStream::connect(&address).await?;
        let mut first = [0];
        stream.read_exact(&mut first).await?;
        Ok::<_, std::io::Error>(first)
    };
    let mend = "is chaffer-push running, with this port as push.pusher_listen (api.publish_to)?";
    match timeout(PATIENCE, greet).await {
        // ZMTP's signature begins so (rfc.zeromq.org, 23/ZMTP).
        Ok(Ok([0xff])) => report.ok("zeromq", format!("{endpoint} speaks ZeroMQ")),
        Ok(Ok(_)) => {
            report.fail("zeromq", format!("what listens at {endpoint} is not ZeroMQ"), mend);
        }
        Ok(Err(error)) => report.fail("zeromq", format!("{endpoint}: {error}"), mend),
        Err(_) => report.fail("zeromq", format!("{endpoint} is silent"), mend),
    }
}

/// Whether each daemon hears the other.
async fn link(config: &Config, client: &Client, both: bool, report: &mut Report) {
    if !both {
        return;
    }
    let ready = async |url: String| {
        client.get(format!("{url}/readyz")).send().await?.json::<Readiness>().await
    };
    for (check, url, of) in [
        ("link_out", config.api_url(), "chaffer-api"),
        ("link_in", config.push_http_url(), "chaffer-push"),
    ] {
        match ready(url).await {
            Ok(readiness) => {
                let bad: Vec<String> = readiness
                    .checks
                    .iter()
                    .filter(|check| !check.ok)
                    .map(|check| format!("{}: {}", check.name, check.detail))
                    .collect();
                if bad.is_empty() {
                    report.ok(check, format!("{of} is ready"));
                } else {
                    report.fail(
                        check,
                        format!("{of} says {}", bad.join("; ")),
                        "both daemons need the same keys.link, and the addresses of each other: api.publish_to and push.api_url",
                    );
                }
            }
            Err(error) => report.fail(check, format!("{of}: {}", reasons(&error)), "see its log"),
        }
    }
}
