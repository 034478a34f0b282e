//! `chaffer-api key`.

use anyhow::Result;
use clap::Subcommand;

use super::say;
use crate::chat::{ChatError, Context, api_keys};
use crate::init;
use crate::store::{DatabaseUrl, Store};

#[derive(Subcommand)]
pub(super) enum Command {
    /// Make a key and print it; it is shown this once only.
    Create {
        /// What to call it.
        #[arg(long)]
        name: String,
    },
    /// List the keys by name; the keys themselves are not kept.
    List,
    /// End the live key of a name.
    Revoke {
        /// What it is called.
        #[arg(long)]
        name: String,
    },
}

pub(super) async fn run(url: &DatabaseUrl, command: Command) -> Result<()> {
    url.migrate()?;
    let store = Store::open(url, 1, 16)?;
    let context = Context { now: chaffer_shared::time::now(), request_id: "cli".into() };
    match command {
        Command::Create { name } => {
            let key = init::new_api_key();
            let kept = key.clone();
            store.write(move |writer| api_keys::create(writer, &context, &name, &kept)).await?;
            say(&key);
        }
        Command::List => {
            let keys = store.read(|reader| reader.api_keys().map_err(ChatError::from)).await?;
            for key in keys {
                let state = if key.revoked_at.is_some() { "revoked" } else { "live" };
                let made = chaffer_shared::time::format(&key.created_at.and_utc());
                say(&format!("{}\t{state}\tmade {made}", key.name));
            }
        }
        Command::Revoke { name } => {
            store.write(move |writer| api_keys::revoke(writer, &context, &name)).await?;
        }
    }
    Ok(())
}
