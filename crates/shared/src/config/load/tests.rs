use super::*;
use std::collections::BTreeSet;
use std::io::Write;

fn file(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::with_suffix(".toml").unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

fn env(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect()
}

fn flags(arguments: &[&str]) -> Flags {
    let command = Flags::augment_args(Command::new("test").no_binary_name(true));
    Flags::from_arg_matches(&command.try_get_matches_from(arguments).unwrap()).unwrap()
}

#[test]
fn without_anything_the_defaults_hold() {
    let loaded = load_with(&Flags::default(), env(&[("PATH", "/bin")])).unwrap();
    assert_eq!(loaded.config.push.websocket_listen.port(), 8091);
    assert_eq!(loaded.config.push.pusher_listen.port(), 8092);
    assert_eq!(loaded.config.api.listen.port(), 8090);
    assert_eq!(loaded.config.push.http_listen.port(), 8093);
    assert!(loaded.origins.is_empty());
}

#[test]
fn the_later_source_wins() {
    let first = file(
        "[api]\nlisten = '127.0.0.1:1'\nname = 'first'\nheartbeat_ms = 1\n[log]\nlevel = 'warn'",
    );
    let second = file("[api]\nlisten = '127.0.0.1:2'\nname = 'second'\nheartbeat_ms = 2");
    let path = |file: &tempfile::NamedTempFile| file.path().to_str().unwrap().to_owned();
    let flags = flags(&[
        "--config",
        &path(&first),
        "--config-override",
        &path(&second),
        "--api-listen",
        "127.0.0.1:4",
    ]);
    let env = env(&[("CHAFFER_API_LISTEN", "127.0.0.1:3"), ("CHAFFER_API_NAME", "third")]);
    let loaded = load_with(&flags, env).unwrap();
    assert_eq!(loaded.config.api.listen.port(), 4);
    assert_eq!(loaded.config.api.name, "third");
    assert_eq!(loaded.config.api.heartbeat_ms, 2);
    assert_eq!(loaded.config.log.level, "warn");
    assert_eq!(loaded.origins["api.listen"], Origin::Flag("api-listen".into()));
    assert_eq!(loaded.origins["api.name"], Origin::Env("CHAFFER_API_NAME".into()));
    assert_eq!(loaded.origins["log.level"], Origin::File(first.path().into()));
}

#[test]
fn lists_are_separated_by_commas() {
    let env = env(&[("CHAFFER_PUSH_LEGACY_TOPICS", "kittens*, order_1 ,,")]);
    let loaded = load_with(&Flags::default(), env).unwrap();
    assert_eq!(loaded.config.push.legacy_topics, ["kittens*", "order_1"]);
}

#[test]
fn unknown_names_are_refused_wherever_they_stand() {
    let refused = |flags: &Flags, pairs: &[(&str, &str)]| {
        load_with(flags, env(pairs)).unwrap_err().to_string()
    };
    let text = refused(&Flags::default(), &[("CHAFFER_PUSH_WEBSOKET_LISTEN", "x")]);
    assert!(text.contains("did you mean `CHAFFER_PUSH_WEBSOCKET_LISTEN`"), "{text}");
    for content in ["[api]\nlissten = 1", "[apj]\nlisten = 1", "listen = 1", "[[api]]\nlisten = 1"]
    {
        let file = file(content);
        let text = refused(&Flags::default().with_file(file.path()), &[]);
        assert!(text.contains("unknown setting"), "{content}: {text}");
    }
}

#[test]
fn a_bad_value_is_named_with_its_place() {
    let text = load_with(&Flags::default(), env(&[("CHAFFER_API_LISTEN", "nowhere")]))
        .unwrap_err()
        .to_string();
    assert!(
        text.starts_with("`api.listen` from environment variable CHAFFER_API_LISTEN"),
        "{text}"
    );
    let file = file("[api]\nname = 'x'\n[push]\nping_seconds = -1");
    let text =
        load_with(&Flags::default().with_file(file.path()), env(&[])).unwrap_err().to_string();
    assert!(text.starts_with("`push.ping_seconds` from "), "{text}");
}

#[test]
fn errors_never_show_a_secret() {
    for content in
        ["[keys]\nlink = 'hunter2'", "[keys]\nlink = [hunter2]", "[database]\nurl = ['hunter2']"]
    {
        let file = file(content);
        let error = load_with(&Flags::default().with_file(file.path()), env(&[])).unwrap_err();
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }
}

#[test]
fn a_missing_file_is_an_error_when_it_was_named() {
    let error =
        load_with(&Flags::default().with_file("/nowhere/chaffer.toml"), env(&[])).unwrap_err();
    assert!(error.to_string().contains("/nowhere/chaffer.toml"), "{error}");
}

#[test]
fn the_list_of_settings_and_the_structs_agree() {
    let listed: BTreeSet<&str> = SETTINGS.iter().map(|setting| setting.key).collect();
    assert_eq!(listed.len(), SETTINGS.len());
    let full = Config {
        api: super::super::Api {
            websocket_url: Some(String::new()),
            publish_to: Some(String::new()),
            push_http_url: Some(String::new()),
            ..Default::default()
        },
        push: super::super::Push { api_url: Some(String::new()), ..Default::default() },
        mail: super::super::Mail { smtp_port: Some(25), ..Default::default() },
        ..Default::default()
    };
    let written = Table::try_from(&full).unwrap();
    let in_structs: BTreeSet<String> = written
        .iter()
        .flat_map(|(section, values)| {
            values.as_table().unwrap().keys().map(move |name| format!("{section}.{name}"))
        })
        .collect();
    assert_eq!(in_structs.iter().map(String::as_str).collect::<BTreeSet<_>>(), listed);
}

#[test]
fn a_secret_may_stand_in_a_file_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let put = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    put("token", "# the keys for tokens\nk2:second\n\n  k1:first\n");
    put("url", "mysql://chaffer:hunter2@db/chaffer\n");
    put("chaffer.toml", "[keys]\ntoken_file = 'token'\nlink = ['from the file']");
    let flags = Flags::default().with_file(folder.path().join("chaffer.toml"));
    let url = folder.path().join("url").display().to_string();
    let loaded = load_with(&flags, env(&[("CHAFFER_DATABASE_URL_FILE", &url)])).unwrap();
    // A path in a file counts from that file's folder.
    assert_eq!(loaded.config.keys.token, ["k2:second", "k1:first"]);
    assert_eq!(loaded.config.database.url, "mysql://chaffer:hunter2@db/chaffer");
    assert_eq!(loaded.config.keys.link, ["from the file"]);
    let named = Origin::Env("CHAFFER_DATABASE_URL_FILE".into());
    let expected = Origin::Secret { path: url.into(), named: Box::new(named) };
    assert_eq!(loaded.origins["database.url"], expected);
    // The later source wins, whichever form it has.
    let loaded = load_with(&flags, env(&[("CHAFFER_KEYS_TOKEN", "k3:third")])).unwrap();
    assert_eq!(loaded.config.keys.token, ["k3:third"]);
}

#[test]
fn a_secret_that_cannot_be_had_is_named_and_not_shown() {
    let folder = tempfile::tempdir().unwrap();
    let empty = folder.path().join("empty");
    std::fs::write(&empty, "\n# nothing\n").unwrap();
    let empty = empty.display().to_string();
    let refused =
        |pairs: &[(&str, &str)]| load_with(&Flags::default(), env(pairs)).unwrap_err().to_string();
    let text = refused(&[("CHAFFER_KEYS_LINK_FILE", "/nowhere/link")]);
    assert!(text.contains("keys.link") && text.contains("/nowhere/link"), "{text}");
    let text = refused(&[("CHAFFER_KEYS_LINK_FILE", &empty)]);
    assert!(text.contains("holds nothing"), "{text}");
    let full = folder.path().join("full").display().to_string();
    std::fs::write(&full, "hunter2").unwrap();
    let both = [("CHAFFER_KEYS_LINK", "hunter2"), ("CHAFFER_KEYS_LINK_FILE", full.as_str())];
    let text = refused(&both);
    assert!(text.contains("one of the two") && !text.contains("hunter2"), "{text}");
    // What is no secret has no such form.
    let text = refused(&[("CHAFFER_API_NAME_FILE", &empty)]);
    assert!(text.contains("unknown setting"), "{text}");
}

#[test]
fn variables_of_others_may_hold_anything_and_ours_are_text() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let bytes = || OsStr::from_bytes(b"caf\xe9").to_owned();
    let others = [("LS_COLORS".into(), bytes()), (bytes(), "x".into())];
    assert!(load_with(&Flags::default(), others).unwrap().origins.is_empty());
    let error = load_with(&Flags::default(), [("CHAFFER_API_NAME", bytes())]).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("CHAFFER_API_NAME") && text.contains("UTF-8"), "{text}");
}
