//! `chaffer-api key`: makes, lists, rotates and revokes the five kinds of keys. API keys live in the database, as
//! hashes; the others in the configuration, where the first of a kind is in use and all of them count.

use anyhow::{Context as _, Result, bail, ensure};
use chaffer_shared::config::{Config, Flags, Loaded, fingerprint, load};
use clap::{Subcommand, ValueEnum};
use serde::Serialize;

use super::{key_file, say};
use crate::chat::{ChatError, Context, api_keys};
use crate::init;
use crate::store::{DatabaseUrl, Store};

/// How many of a kind may be live: the one in use, and the other one during a rotation.
const MAX_LIVE: usize = 2;

/// What a key is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Kind {
    /// The shop's backends show it with every call.
    Api,
    /// Signs the tokens of browsers (keys.token).
    Token,
    /// Both daemons share it (keys.link).
    Link,
    /// The shop's backend signs with it what its pages say (keys.shop).
    Shop,
    /// Signs the reply addresses and unsubscribe links in mails (keys.mail).
    Mail,
}

#[derive(Subcommand)]
pub(super) enum Command {
    /// Make a first key of a kind; an API key is printed, this once only.
    Create {
        /// Which kind.
        #[arg(long, default_value = "api")]
        kind: Kind,
        /// What to call an API key.
        #[arg(long, required_if_eq("kind", "api"))]
        name: Option<String>,
    },
    /// List the keys of all kinds; the keys themselves are not shown.
    List {
        /// Only this kind.
        #[arg(long)]
        kind: Option<Kind>,
        /// As JSON, for programs.
        #[arg(long)]
        json: bool,
    },
    /// Put a new key in the place of the one in use, which goes on counting until it is revoked.
    Rotate {
        /// Which kind.
        #[arg(long, default_value = "api")]
        kind: Kind,
        /// The name of the API key.
        #[arg(long, required_if_eq("kind", "api"))]
        name: Option<String>,
    },
    /// End a key: of two of the same name or kind the older one.
    Revoke {
        /// Which kind.
        #[arg(long, default_value = "api")]
        kind: Kind,
        /// The name of the API key; of another kind the id that `list` shows, by default that of the older one.
        #[arg(long, required_if_eq("kind", "api"))]
        name: Option<String>,
    },
}

/// One line of `key list`.
#[derive(Serialize)]
struct Listed {
    kind: Kind,
    /// An API key's name, a token key's kid, the fingerprint of the others.
    name: String,
    /// `live` and `revoked` of API keys; the others are `in use` or `live`.
    state: &'static str,
    /// When an API key was made, or where another one stands.
    about: String,
}

pub(super) async fn run(flags: &Flags, command: Command) -> Result<()> {
    let loaded = load(flags)?;
    match command {
        Command::Create { kind: Kind::Api, name } => {
            change_api_keys(&loaded.config, name, api_keys::create).await
        }
        Command::Rotate { kind: Kind::Api, name } => {
            change_api_keys(&loaded.config, name, api_keys::rotate).await
        }
        Command::Revoke { kind: Kind::Api, name } => {
            let name = name.context("--name is missing")?;
            let context = context();
            let store = open(&loaded.config)?;
            Ok(store.write(move |writer| api_keys::revoke(writer, &context, &name)).await?)
        }
        Command::Create { kind, .. } => create(&loaded, kind),
        Command::Rotate { kind, .. } => rotate(&loaded, kind),
        Command::Revoke { kind, name } => revoke(&loaded, kind, name.as_deref()),
        Command::List { kind, json } => list(&loaded, kind, json).await,
    }
}

fn open(config: &Config) -> Result<Store> {
    let url = DatabaseUrl::parse(&config.database.url)?;
    url.migrate()?;
    Ok(Store::open(&url, 1, 16)?)
}

fn context() -> Context {
    Context { now: chaffer_shared::time::now(), request_id: "cli".into() }
}

type Change = fn(&mut crate::store::Writer<'_>, &Context, &str, &str) -> Result<(), ChatError>;

async fn change_api_keys(config: &Config, name: Option<String>, change: Change) -> Result<()> {
    let name = name.context("--name is missing")?;
    let (key, context) = (init::new_api_key(), context());
    let kept = key.clone();
    open(config)?.write(move |writer| change(writer, &context, &name, &kept)).await?;
    say(&key);
    Ok(())
}

async fn list(loaded: &Loaded, kind: Option<Kind>, json: bool) -> Result<()> {
    let wanted = |of: Kind| kind.is_none_or(|kind| kind == of);
    let mut all = Vec::new();
    if wanted(Kind::Api) {
        let store = open(&loaded.config)?;
        let keys = store.read(|reader| reader.api_keys().map_err(ChatError::from)).await?;
        all.extend(keys.into_iter().map(|key| Listed {
            kind: Kind::Api,
            name: key.name,
            state: if key.revoked_at.is_some() { "revoked" } else { "live" },
            about: format!("made {}", chaffer_shared::time::format(&key.created_at.and_utc())),
        }));
    }
    for kind in
        [Kind::Token, Kind::Link, Kind::Shop, Kind::Mail].into_iter().filter(|kind| wanted(*kind))
    {
        let origin = loaded.origins.get(kind.setting()).map(ToString::to_string);
        let about = origin.unwrap_or_default();
        all.extend(kind.keys(&loaded.config).iter().enumerate().map(|(place, key)| Listed {
            kind,
            name: kind.id(key),
            state: if place == 0 { "in use" } else { "live" },
            about: about.clone(),
        }));
    }
    if json {
        say(&serde_json::to_string_pretty(&all)?);
    } else {
        for Listed { kind, name, state, about } in all {
            say(&format!("{}\t{name}\t{state}\t{about}", kind.name()));
        }
    }
    Ok(())
}

fn create(loaded: &Loaded, kind: Kind) -> Result<()> {
    let name = kind.name();
    ensure!(
        kind.keys(&loaded.config).is_empty(),
        "there is a {name} key already: `chaffer-api key rotate --kind {name}` makes the next one"
    );
    let key = kind.make(&loaded.config);
    kind.write(loaded, std::slice::from_ref(&key))?;
    if kind == Kind::Shop {
        say(&key);
    }
    say(&format!(
        "{} has its first key; restart chaffer-push, then chaffer-api (SIGUSR2 does it without a pause)",
        kind.setting()
    ));
    Ok(())
}

fn rotate(loaded: &Loaded, kind: Kind) -> Result<()> {
    let (name, live) = (kind.name(), kind.keys(&loaded.config));
    ensure!(!live.is_empty(), "there is no {name} key: `chaffer-api key create --kind {name}`");
    ensure!(
        live.len() < MAX_LIVE,
        "two {name} keys are live already: `chaffer-api key revoke --kind {name}` ends the older one"
    );
    let key = kind.make(&loaded.config);
    let all: Vec<String> = std::iter::once(&key).chain(live).cloned().collect();
    kind.write(loaded, &all)?;
    if kind == Kind::Shop {
        say(&key);
    }
    say(&format!("{} begins with the new key {}; {}", kind.setting(), kind.id(&key), kind.next()));
    Ok(())
}

fn revoke(loaded: &Loaded, kind: Kind, id: Option<&str>) -> Result<()> {
    let (name, live) = (kind.name(), kind.keys(&loaded.config));
    let place = match id {
        Some(id) => live.iter().position(|key| kind.id(key) == id),
        None => live.len().checked_sub(1),
    };
    let place = place.with_context(|| {
        format!("there is no such {name} key: see `chaffer-api key list --kind {name}`")
    })?;
    ensure!(
        live.len() > 1,
        "it is the only {name} key: `chaffer-api key rotate --kind {name}` makes the next one first"
    );
    let mut kept = live.to_vec();
    let ended = kept.remove(place);
    kind.write(loaded, &kept)?;
    let daemons = match kind {
        Kind::Shop | Kind::Mail => "chaffer-api",
        _ => "chaffer-api and chaffer-push",
    };
    say(&format!("{} is without the key {}; restart {daemons}", kind.setting(), kind.id(&ended)));
    Ok(())
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::Token => "token",
            Self::Link => "link",
            Self::Shop => "shop",
            Self::Mail => "mail",
        }
    }

    /// Where keys of this kind stand.
    fn setting(self) -> &'static str {
        match self {
            Self::Api => "the database",
            Self::Token => "keys.token",
            Self::Link => "keys.link",
            Self::Shop => "keys.shop",
            Self::Mail => "keys.mail",
        }
    }

    fn keys(self, config: &Config) -> &[String] {
        match self {
            Self::Api => &[],
            Self::Token => &config.keys.token,
            Self::Link => &config.keys.link,
            Self::Shop => &config.keys.shop,
            Self::Mail => &config.keys.mail,
        }
    }

    /// How a key is called.
    fn id(self, key: &str) -> String {
        match key.split_once(':') {
            Some((kid, _)) if self == Self::Token => kid.to_owned(),
            _ => fingerprint(key),
        }
    }

    fn make(self, config: &Config) -> String {
        let secret = init::secret();
        if self != Self::Token {
            return secret;
        }
        // A number that no live key has; tokens of one that was revoked are refused by their signature.
        let number = |key: &String| key.split_once(':')?.0.strip_prefix('k')?.parse::<u32>().ok();
        let last = config.keys.token.iter().filter_map(number).max().unwrap_or(0);
        format!("k{}:{secret}", last.saturating_add(1))
    }

    /// What is to be done after a rotation, in an order in which nothing is refused meanwhile.
    fn next(self) -> &'static str {
        match self {
            Self::Shop => {
                "restart chaffer-api, give the shop's backend the key above, and then end the older one: \
                 chaffer-api key revoke --kind shop"
            }
            Self::Mail => {
                "restart chaffer-api, and when no older mail can be answered any more (mail.reply_days): \
                 chaffer-api key revoke --kind mail"
            }
            Self::Token => {
                "restart chaffer-push, then chaffer-api (SIGUSR2 does it without a pause), and an hour later, when the last token of the older one has \
                 ended: chaffer-api key revoke --kind token"
            }
            Self::Link | Self::Api => {
                "restart chaffer-push, then chaffer-api (SIGUSR2 does it without a pause), and then end the older one: chaffer-api key revoke --kind link"
            }
        }
    }

    fn write(self, loaded: &Loaded, keys: &[String]) -> Result<()> {
        let name = self.name();
        match key_file::place_of(loaded, self.setting()) {
            Some(place) => place.write(name, keys),
            None => match loaded.origins.get(self.setting()) {
                Some(origin) => bail!(
                    "{} is set by {origin}, which cannot be changed from here: change it there",
                    self.setting()
                ),
                None => bail!("there is no configuration file: `chaffer-api init` makes one"),
            },
        }
    }
}
