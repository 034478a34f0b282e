//! Settings that can be read and cannot be meant, or open what should be closed.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;

use chaffer_shared::config::{Config, Loaded, Origin};
use chaffer_shared::link::{LinkKeys, MIN_KEY_CHARS};
use chaffer_shared::token::TokenKeys;

use super::Report;

pub(super) fn check(loaded: &Loaded, report: &mut Report) {
    let config = &loaded.config;
    files(loaded, report);
    keys(config, report);
    callers(config, report);
    listeners(config, report);
    legacy(config, report);
    browsers(config, report);
}

/// Who can read the files in which secrets stand.
fn files(loaded: &Loaded, report: &mut Report) {
    let secrets = loaded.origins.values().filter_map(|origin| match origin {
        Origin::Secret { path, .. } => Some(path),
        _ => None,
    });
    let open: Vec<String> = loaded
        .files
        .iter()
        .chain(secrets)
        .filter(|path| std::fs::metadata(path).is_ok_and(|it| it.mode() & 0o004 != 0))
        .map(|path| path.display().to_string())
        .collect();
    if loaded.files.is_empty() {
        report.warn(
            "configuration",
            "no configuration file: defaults and the environment hold",
            "name it with --config, or run `chaffer-api init --dir /etc/chaffer`",
        );
    } else if open.is_empty() {
        let files: Vec<_> = loaded.files.iter().map(|path| path.display().to_string()).collect();
        report.ok("configuration", files.join(", "));
    } else {
        let open = open.join(" ");
        report.fail(
            "configuration",
            format!("everybody on this machine can read {open}, and it holds keys"),
            format!("chmod 640 {open}"),
        );
    }
}

fn keys(config: &Config, report: &mut Report) {
    let keys = &config.keys;
    let mend = |kind| format!("chaffer-api key create --kind {kind}");
    if keys.token.is_empty() {
        report.fail("keys", "keys.token is empty: no browser can sign in", mend("token"));
    } else if let Err(error) = TokenKeys::parse(&keys.token) {
        report.fail("keys", error.to_string(), "chaffer-api key rotate --kind token");
    } else if keys.link.is_empty() {
        report.fail("keys", "keys.link is empty: nothing reaches the browsers", mend("link"));
    } else if let Err(error) = LinkKeys::parse(&keys.link) {
        report.fail("keys", error.to_string(), "chaffer-api key rotate --kind link");
    } else if keys.shop.iter().any(|key| key.chars().count() < MIN_KEY_CHARS) {
        let detail = format!("keys.shop: each key has at least {MIN_KEY_CHARS} characters");
        report.fail("keys", detail, "chaffer-api key rotate --kind shop");
    } else if let Some((one, other)) = shared(config) {
        report.fail(
            "keys",
            format!("{one} and {other} hold the same key: whoever knows the one has the other"),
            "chaffer-api key rotate --kind KIND for one of them, and revoke the old one",
        );
    } else {
        report.ok("keys", "a key of each kind, all different");
    }
}

/// Two kinds that have a secret in common.
fn shared(config: &Config) -> Option<(&'static str, &'static str)> {
    let keys = &config.keys;
    let mut seen = BTreeMap::new();
    for (kind, keys) in
        [("keys.token", &keys.token), ("keys.link", &keys.link), ("keys.shop", &keys.shop)]
    {
        for key in keys {
            let secret = key.split_once(':').map_or(key.as_str(), |(_, secret)| secret);
            if let Some(before) = seen.insert(secret, kind)
                && before != kind
            {
                return Some((before, kind));
            }
        }
    }
    None
}

fn callers(config: &Config, report: &mut Report) {
    let trusted = &config.api.trusted_ips;
    if trusted.is_empty() {
        report.fail(
            "trusted_ips",
            "api.trusted_ips is empty: no call of the shop's backend is accepted, from nowhere",
            "set it to the addresses that the shop's backend calls from, e.g. trusted_ips = [\"127.0.0.1\"] under [api]",
        );
    } else if let Some(all) = trusted.iter().find(|network| network.prefix_len() == 0) {
        report.warn(
            "trusted_ips",
            format!("api.trusted_ips holds {all}: an API key is accepted from everywhere"),
            "list the addresses of the shop's backend alone",
        );
    } else {
        let trusted: Vec<_> = trusted.iter().map(ToString::to_string).collect();
        report.ok("trusted_ips", trusted.join(", "));
    }
    if config.api.demo {
        report.fail(
            "demo",
            "api.demo is on: anybody may write as the demo's people",
            "take it out on a real shop",
        );
    }
}

fn listeners(config: &Config, report: &mut Report) {
    let push = &config.push;
    let mut quiet = true;
    for (check, setting, address, danger) in [
        (
            "pusher_port",
            "push.pusher_listen",
            push.pusher_listen,
            "whoever reaches it can push legacy events to every page",
        ),
        (
            "side_door",
            "push.http_listen",
            push.http_listen,
            "whoever reaches it sees who is online",
        ),
        ("api_port", "api.listen", config.api.listen, "it is meant to stand behind nginx"),
    ] {
        if !address.ip().is_loopback() {
            quiet = false;
            report.warn(
                check,
                format!("{setting} is {address}, beyond this machine: {danger}"),
                format!("set it to 127.0.0.1:{}, or let a firewall guard it", address.port()),
            );
        }
    }
    if quiet {
        report.ok("listeners", "on loopback addresses alone");
    }
}

fn legacy(config: &Config, report: &mut Report) {
    let open = |pattern: &&String| pattern.chars().all(|char| char == '*');
    match config.push.legacy_topics.iter().find(open) {
        Some(pattern) => report.warn(
            "legacy_topics",
            format!("push.legacy_topics holds `{pattern}`: whoever guesses a topic reads it"),
            "list the topics that the shop's pages need",
        ),
        None => {
            let count = config.push.legacy_topics.len();
            report.ok("legacy_topics", format!("{count} patterns are open to legacy pages"));
        }
    }
}

fn browsers(config: &Config, report: &mut Report) {
    let check = "origins";
    let secure = |origin: &&String| origin.starts_with("https://");
    let url = config.websocket_url();
    if let Some(origin) = config.api.allowed_origins.iter().find(secure)
        && url.starts_with("ws://")
    {
        report.fail(
            check,
            format!(
                "the pages of {origin} are told to open {url}, which browsers forbid on https pages"
            ),
            "set api.websocket_url to the wss:// address of the shop",
        );
        return;
    }
    let push = &config.push.allowed_origins;
    let lost = |origin: &&String| !push.is_empty() && !push.contains(origin) && *origin != "*";
    match config.api.allowed_origins.iter().find(lost) {
        Some(origin) => report.warn(
            check,
            format!("{origin} may call the API and may not open a socket"),
            "list the same pages in api.allowed_origins and push.allowed_origins",
        ),
        None => report.ok(check, "both daemons let the same pages in"),
    }
}
