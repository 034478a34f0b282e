//! `chaffer-api init`: everything a first start needs, in one folder. Run again, it makes what is missing and leaves
//! the rest alone.

use std::fs::{DirBuilder, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use chaffer_shared::config::{Loaded, Origin};

use crate::chat::{ChatError, Context, api_keys};
use crate::demo;
use crate::store::{DatabaseUrl, Store};

/// The name of the key that `fill` makes.
const FIRST: &str = "first";

/// Writes the configuration, unless there is one: fresh keys, and what flags and environment say now, so that it
/// holds for later starts, too. Returns its path.
///
/// # Errors
/// When the folder or the file cannot be written.
pub fn write_config(directory: &Path, told: &Loaded) -> Result<PathBuf> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .with_context(|| format!("cannot create {}", directory.display()))?;
    let directory = directory.canonicalize()?;
    let path = directory.join("chaffer.toml");
    let mut settings = toml::toml! {
        [api]
        trusted_ips = ["127.0.0.1", "::1"]
    };
    let database = format!("sqlite://{}", directory.join("chaffer.db").display());
    put(&mut settings, "database.url", database.into());
    let files = directory.join("files").display().to_string();
    put(&mut settings, "files.folder", files.into());
    put(&mut settings, "keys.token", vec![format!("k1:{}", secret())].into());
    put(&mut settings, "keys.link", vec![secret()].into());
    put(&mut settings, "keys.shop", vec![secret()].into());
    put(&mut settings, "keys.mail", vec![secret()].into());
    let values = toml::Table::try_from(&told.config)?;
    for (key, origin) in &told.origins {
        let value = key.split_once('.').and_then(|(section, name)| values.get(section)?.get(name));
        if let (Origin::Env(_) | Origin::Flag(_), Some(value)) = (origin, value) {
            put(&mut settings, key, value.clone());
        }
    }
    let text = format!(
        "# Written by `chaffer-api init`. Holds secrets: keep it readable for the daemons' user alone.\n\
         # All settings: `chaffer-api --help`. api.trusted_ips are the addresses that may use an API key.\n\
         \n{}",
        toml::to_string(&settings)?
    );
    write_private(&path, &text)?;
    Ok(path)
}

/// Puts a value at `section.name`.
fn put(settings: &mut toml::Table, key: &str, value: toml::Value) {
    let Some((section, name)) = key.split_once('.') else { return };
    let section = settings.entry(section).or_insert_with(|| toml::Table::new().into());
    if let Some(section) = section.as_table_mut() {
        section.insert(name.to_owned(), value);
    }
}

/// Makes the database, the first API key in `<directory>/api-key`, and the demo's people if they are wanted.
///
/// # Errors
/// When the database or the file cannot be written.
pub async fn fill(directory: &Path, url: &DatabaseUrl, with_demo: bool) -> Result<()> {
    url.migrate()?;
    let store = Store::open(url, 1, 16)?;
    let path = directory.join("api-key");
    write_private(&path, &format!("{}\n", new_api_key()))?;
    let key = std::fs::read_to_string(&path)
        .with_context(|| format!("cannot read {}", path.display()))?
        .trim()
        .to_owned();
    let context = || Context { now: chaffer_shared::time::now(), request_id: "init".into() };
    let now = context();
    store
        .write(move |writer| {
            // The file may be older than the database, which may have been replaced.
            let keys = writer.api_keys()?;
            if keys.iter().any(|it| it.hash == api_keys::hash(&key)) {
                Ok(())
            } else if keys.iter().any(|it| it.name == FIRST && it.revoked_at.is_none()) {
                // The database may be older than the file, too: somebody may still use the key of that time.
                api_keys::rotate(writer, &now, FIRST, &key)
            } else {
                api_keys::create(writer, &now, FIRST, &key)
            }
        })
        .await
        .map_err(|error: ChatError| error)
        .with_context(|| format!("cannot keep the key in {}", path.display()))?;
    if with_demo {
        demo::seed(&store, context()).await?;
    }
    Ok(())
}

/// A new API key: 256 random bits.
#[must_use]
pub fn new_api_key() -> String {
    format!("chaffer_{}", secret())
}

/// A new secret: 256 random bits in hex.
#[must_use]
pub fn secret() -> String {
    hex::encode(rand::random::<[u8; 32]>())
}

/// Writes a new file that its owner alone may read; leaves one that is there alone.
fn write_private(path: &Path, text: &str) -> Result<()> {
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(mut file) => Ok(file.write_all(text.as_bytes())?),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error).with_context(|| format!("cannot create {}", path.display())),
    }
}
