//! Where the keys of the configuration stand, and how they are changed there: the rest of the file, its comments, its
//! mode and its owner stay, and whoever reads it sees either the old one or the new one.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use chaffer_shared::config::{Loaded, Origin};
use toml_edit::{Array, DocumentMut, Item, Table};

/// A file in which keys stand.
pub(super) enum Place {
    /// A configuration file.
    Config(PathBuf),
    /// A file of keys of one kind, one a line.
    Lines(PathBuf),
}

/// Where a setting is to be changed; `None` where no file of ours decides.
pub(super) fn place_of(loaded: &Loaded, setting: &str) -> Option<Place> {
    match loaded.origins.get(setting) {
        Some(Origin::File(path)) => Some(Place::Config(path.clone())),
        Some(Origin::Secret { path, .. }) => Some(Place::Lines(path.clone())),
        Some(Origin::Env(_) | Origin::Flag(_)) => None,
        None => loaded.files.first().cloned().map(Place::Config),
    }
}

impl Place {
    /// Puts these keys in the place of those that are there.
    pub(super) fn write(&self, name: &str, keys: &[String]) -> Result<()> {
        match self {
            Self::Config(path) => {
                let text = std::fs::read_to_string(path).with_context(|| cannot("read", path))?;
                replace(path, &with_keys(&text, name, keys)?)
            }
            Self::Lines(path) => replace(path, &(keys.join("\n") + "\n")),
        }
    }
}

fn cannot(what: &str, path: &Path) -> String {
    format!("cannot {what} {}", path.display())
}

/// The configuration with other keys of one kind.
fn with_keys(text: &str, name: &str, keys: &[String]) -> Result<String> {
    let mut document: DocumentMut = text.parse().context("the configuration is not valid TOML")?;
    let section = document.entry("keys").or_insert_with(|| Item::Table(Table::new()));
    let section = section.as_table_like_mut().context("`keys` is no section")?;
    let mut value = toml_edit::Value::Array(keys.iter().map(String::as_str).collect::<Array>());
    match section.get_mut(name) {
        // The key itself stays, and so do the comments before and behind it.
        Some(item) => {
            if let Some(before) = item.as_value() {
                *value.decor_mut() = before.decor().clone();
            }
            *item = Item::Value(value);
        }
        None => {
            section.insert(name, Item::Value(value));
        }
    }
    Ok(document.to_string())
}

/// Writes a file anew in one step.
fn replace(path: &Path, text: &str) -> Result<()> {
    // A link goes on pointing to the file.
    let path = path.canonicalize().with_context(|| cannot("find", path))?;
    let folder = path.parent().unwrap_or(Path::new("/"));
    let write = || -> std::io::Result<()> {
        let before = std::fs::metadata(&path)?;
        let mut draft = tempfile::Builder::new().prefix(".chaffer-").tempfile_in(folder)?;
        let mode = std::fs::Permissions::from_mode(before.mode() & 0o7777);
        let now = draft.as_file().metadata()?;
        if (now.uid(), now.gid()) != (before.uid(), before.gid()) {
            std::os::unix::fs::fchown(draft.as_file(), Some(before.uid()), Some(before.gid()))?;
        }
        draft.as_file().set_permissions(mode)?;
        draft.write_all(text.as_bytes())?;
        draft.as_file().sync_all()?;
        draft.persist(&path).map_err(|error| error.error)?;
        File::open(folder)?.sync_all()
    };
    write().with_context(|| cannot("change", &path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rest_of_the_configuration_stays_as_it_is() {
        let text = "# mine\n[api]\nname = 'a' # why\n\n[keys]\n# signs\ntoken = ['k1:x'] # old\nlink = [ \"l\" ]\n";
        let changed = with_keys(text, "token", &["k2:y".into(), "k1:x".into()]).unwrap();
        assert_eq!(changed, text.replace("['k1:x']", "[\"k2:y\", \"k1:x\"]"));
        let changed = with_keys("keys.link = ['l']\n", "shop", &["s".into()]).unwrap();
        assert!(changed.contains("keys.link = ['l']") && changed.contains("[\"s\"]"), "{changed}");
        let table: toml::Table = changed.parse().unwrap();
        assert_eq!(table["keys"]["shop"][0].as_str(), Some("s"));
        assert!(with_keys("", "link", &["l".into()]).unwrap().contains("[keys]\nlink = [\"l\"]"));
    }

    #[test]
    fn a_changed_file_keeps_its_mode_and_a_link_its_target() {
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("file"), folder.path().join("link"));
        std::fs::write(&file, "old").unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o640)).unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        replace(&link, "new").unwrap();
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "new");
        assert_eq!(std::fs::metadata(&file).unwrap().mode() & 0o7777, 0o640);
        assert!(std::fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
        // One that is not there is not made: it would be read by nobody.
        assert!(replace(&folder.path().join("other"), "x").is_err());
    }
}
