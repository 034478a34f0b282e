//! Puts the sources of settings on top of each other and remembers where each value came from.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use clap::{Arg, ArgMatches, Args, Command, FromArgMatches};
use toml::{Table, Value};

use super::{Config, Kind, SETTINGS, Setting};

/// Read when neither a flag nor the environment names a file, if it exists.
const DEFAULT_FILE: &str = "/etc/chaffer/chaffer.toml";
const FILE_ENV: &str = "CHAFFER_CONFIG";
const OVERRIDE_ENV: &str = "CHAFFER_CONFIG_OVERRIDE";

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// One of the two files.
    File(PathBuf),
    /// The environment variable of that name.
    Env(String),
    /// The flag of that name.
    Flag(String),
    /// A file that holds this one secret.
    Secret {
        /// The file.
        path: PathBuf,
        /// Where its name came from.
        named: Box<Origin>,
    },
}

impl Origin {
    /// The layer: a file, the environment, or the command line.
    fn source(&self) -> Option<&Path> {
        match self {
            Self::File(path) => Some(path),
            Self::Secret { named, .. } => named.source(),
            Self::Env(_) => None,
            Self::Flag(_) => Some(Path::new("--")),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Env(name) => write!(f, "environment variable {name}"),
            Self::Flag(name) => write!(f, "flag --{name}"),
            Self::Secret { path, named } => write!(f, "{}, named by {named}", path.display()),
        }
    }
}

/// The settings in force.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The values.
    pub config: Config,
    /// Where each value that is no default came from, by `section.name`.
    pub origins: BTreeMap<String, Origin>,
    /// The files that were read, in that order.
    pub files: Vec<PathBuf>,
}

/// Why the settings cannot be used. Says what to change, and never shows a secret.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file cannot be read.
    #[error("cannot read the configuration {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file is no TOML.
    #[error("{} is not valid TOML, line {line}: {message}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong there.
        message: String,
    },
    /// The file of a secret cannot be read.
    #[error("cannot read {} for `{key}`: {source}", path.display())]
    Secret {
        /// The setting.
        key: String,
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A name that is no setting's.
    #[error("unknown setting `{name}` in {origin}{}", hint(similar))]
    Unknown {
        /// The name.
        name: String,
        /// Where it stands.
        origin: Origin,
        /// The setting that was perhaps meant.
        similar: Option<String>,
    },
    /// A value of the wrong type or form.
    #[error("`{key}` from {origin}: {message}")]
    Value {
        /// The setting.
        key: String,
        /// Where it was set.
        origin: Origin,
        /// What it must be.
        message: String,
    },
}

fn hint(similar: &Option<String>) -> String {
    similar.as_ref().map(|name| format!("; did you mean `{name}`?")).unwrap_or_default()
}

/// The flags of both daemons: the two files and one flag for each setting that is no secret.
#[derive(Debug, Clone, Default)]
pub struct Flags {
    file: Option<PathBuf>,
    override_file: Option<PathBuf>,
    values: BTreeMap<&'static str, String>,
}

impl Args for Flags {
    fn augment_args(command: Command) -> Command {
        let path = |name: &'static str, help: String| {
            Arg::new(name).long(name).value_name("FILE").help(help).global(true)
        };
        let command = command
            .arg(path("config", format!("Configuration file [env: {FILE_ENV}] [default: {DEFAULT_FILE}, if there]")))
            .arg(path(
                "config-override",
                format!("Second file, which overrides the first [env: {OVERRIDE_ENV}] [default: <config>.local.toml, if there]"),
            ));
        SETTINGS.iter().filter(|setting| !setting.secret).fold(command, |command, setting| {
            command.arg(
                Arg::new(setting.key)
                    .long(setting.flag())
                    .value_name("VALUE")
                    .help(setting.help)
                    .help_heading(
                        "Settings (each also in the file, and as CHAFFER_... in the environment)",
                    )
                    .global(true),
            )
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Flags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut flags = Self::default();
        flags.update_from_arg_matches(matches)?;
        Ok(flags)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        let get = |name: &str| matches.get_one::<String>(name).cloned();
        self.file = get("config").map(PathBuf::from);
        self.override_file = get("config-override").map(PathBuf::from);
        for setting in SETTINGS.iter().filter(|setting| !setting.secret) {
            if let Some(value) = get(setting.key) {
                self.values.insert(setting.key, value);
            }
        }
        Ok(())
    }
}

impl Flags {
    /// Names the configuration file, as `--config` does.
    #[must_use]
    pub fn with_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.file = Some(path.into());
        self
    }

    /// The file that `--config` names.
    #[must_use]
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }
}

/// Reads the settings with the environment of this process, see [`load_with`].
///
/// # Errors
/// [`ConfigError`] for a file that cannot be read, an unknown name or a bad value.
pub fn load(flags: &Flags) -> Result<Loaded, ConfigError> {
    load_with(flags, std::env::vars_os())
}

/// Reads the settings: defaults, the file, the second file, the environment, the flags; the later one wins.
/// `env` is passed in so that tests need not change the process's.
///
/// # Errors
/// [`ConfigError`] for a file that cannot be read, an unknown name or a bad value.
pub fn load_with<N: Into<OsString>, V: Into<OsString>>(
    flags: &Flags,
    env: impl IntoIterator<Item = (N, V)>,
) -> Result<Loaded, ConfigError> {
    let env = own_variables(env.into_iter().map(|(name, value)| (name.into(), value.into())))?;
    let named = |flag: &Option<PathBuf>, name: &str| {
        flag.clone().or_else(|| env.get(name).map(PathBuf::from))
    };
    let mut layers = Layers::default();

    let existing = |path: PathBuf| path.exists().then_some(path);
    let file = named(&flags.file, FILE_ENV).or_else(|| existing(PathBuf::from(DEFAULT_FILE)));
    let second = named(&flags.override_file, OVERRIDE_ENV)
        .or_else(|| existing(file.as_ref()?.with_extension("local.toml")));
    for path in [file, second].into_iter().flatten() {
        layers.add_file(path)?;
    }
    for (name, text) in &env {
        if name != FILE_ENV && name != OVERRIDE_ENV {
            layers.add_env(name, text)?;
        }
    }
    for (key, text) in &flags.values {
        if let Some(setting) = SETTINGS.iter().find(|setting| setting.key == *key) {
            layers.add_text(setting, text, Origin::Flag(setting.flag()))?;
        }
    }
    layers.finish()
}

/// The variables that are ours. Others may hold anything, and are none of our business.
fn own_variables(
    env: impl Iterator<Item = (OsString, OsString)>,
) -> Result<BTreeMap<String, String>, ConfigError> {
    let mut own = BTreeMap::new();
    for (name, value) in env {
        if !name.as_encoded_bytes().starts_with(b"CHAFFER_") {
            continue;
        }
        let name = name.to_string_lossy().into_owned();
        let value = value.into_string().map_err(|_| ConfigError::Value {
            key: name.clone(),
            origin: Origin::Env(name.clone()),
            message: "must be UTF-8".into(),
        })?;
        own.insert(name, value);
    }
    Ok(own)
}

#[derive(Default)]
struct Layers {
    table: Table,
    origins: BTreeMap<String, Origin>,
    files: Vec<PathBuf>,
}

impl Layers {
    fn add_file(&mut self, path: PathBuf) -> Result<(), ConfigError> {
        let text = std::fs::read_to_string(&path)
            .map_err(|source| ConfigError::Read { path: path.clone(), source })?;
        // Only the parser's message and the line are told: the line itself may hold a secret.
        let table: Table = text.parse().map_err(|error: toml::de::Error| ConfigError::Syntax {
            path: path.clone(),
            line: error
                .span()
                .and_then(|span| text.get(..span.start))
                .map_or(1, |before| before.matches('\n').count() + 1),
            message: error.message().to_owned(),
        })?;
        let folder = path.parent().map(Path::to_owned).unwrap_or_default();
        self.files.push(path.clone());
        let origin = Origin::File(path);
        for (section, value) in table {
            let Value::Table(values) = value else {
                return Err(unknown(&section, origin, |setting| setting.key.to_owned()));
            };
            for (name, value) in values {
                let key = format!("{section}.{name}");
                let named = |setting: &&Setting| setting.key == key;
                let in_file = |setting: &&Setting| setting.file_key().as_ref() == Some(&key);
                if let Some(setting) = SETTINGS.iter().find(named) {
                    self.set_once(setting, value, origin.clone())?;
                } else if let Some(setting) = SETTINGS.iter().find(in_file) {
                    let path = value.as_str().ok_or_else(|| ConfigError::Value {
                        key: key.clone(),
                        origin: origin.clone(),
                        message: "expected the path of a file".into(),
                    })?;
                    self.add_secret(setting, &folder.join(path), origin.clone())?;
                } else {
                    return Err(unknown(&key, origin, |setting| setting.key.to_owned()));
                }
            }
        }
        Ok(())
    }

    fn add_env(&mut self, name: &str, text: &str) -> Result<(), ConfigError> {
        let origin = Origin::Env(name.to_owned());
        let in_file = |setting: &&Setting| setting.file_env().as_deref() == Some(name);
        match SETTINGS.iter().find(|setting| setting.env() == name) {
            Some(setting) => self.add_text(setting, text, origin),
            None => match SETTINGS.iter().find(in_file) {
                Some(setting) => self.add_secret(setting, Path::new(text), origin),
                None => Err(unknown(name, origin, Setting::env)),
            },
        }
    }

    /// Takes a secret from a file of its own; a list has an entry a line.
    fn add_secret(
        &mut self,
        setting: &Setting,
        path: &Path,
        named: Origin,
    ) -> Result<(), ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Secret {
            key: setting.key.to_owned(),
            path: path.to_owned(),
            source,
        })?;
        let origin = Origin::Secret { path: path.to_owned(), named: Box::new(named) };
        let mut lines =
            text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let value = match setting.kind {
            Kind::List => {
                let entries: Vec<_> = lines.map(|line| Value::String(line.to_owned())).collect();
                (!entries.is_empty()).then_some(Value::Array(entries))
            }
            _ => lines.next().map(|line| Value::String(line.to_owned())),
        };
        let value = value.ok_or_else(|| ConfigError::Value {
            key: setting.key.to_owned(),
            origin: origin.clone(),
            message: "the file holds nothing".into(),
        })?;
        self.set_once(setting, value, origin)
    }

    /// Refuses a secret that one source gives in both forms.
    fn set_once(
        &mut self,
        setting: &Setting,
        value: Value,
        origin: Origin,
    ) -> Result<(), ConfigError> {
        if let Some(before) = self.origins.get(setting.key)
            && before.source() == origin.source()
        {
            return Err(ConfigError::Value {
                key: setting.key.to_owned(),
                origin,
                message: "the value and a file for it stand side by side: give one of the two"
                    .into(),
            });
        }
        self.set(setting, value, origin);
        Ok(())
    }

    fn add_text(
        &mut self,
        setting: &Setting,
        text: &str,
        origin: Origin,
    ) -> Result<(), ConfigError> {
        let wrong = |message: &str| ConfigError::Value {
            key: setting.key.to_owned(),
            origin: origin.clone(),
            message: message.to_owned(),
        };
        let value = match setting.kind {
            Kind::Text => Value::String(text.to_owned()),
            Kind::Number => {
                Value::Integer(text.trim().parse().map_err(|_| wrong("expected a whole number"))?)
            }
            Kind::Switch => Value::Boolean(match text.trim() {
                "true" | "1" | "yes" | "on" => true,
                "false" | "0" | "no" | "off" | "" => false,
                _ => return Err(wrong("expected true or false")),
            }),
            Kind::List => {
                let entries = text.split(',').map(str::trim).filter(|entry| !entry.is_empty());
                Value::Array(entries.map(|entry| Value::String(entry.to_owned())).collect())
            }
        };
        self.set_once(setting, value, origin)
    }

    fn set(&mut self, setting: &Setting, value: Value, origin: Origin) {
        let Some((section, name)) = setting.key.split_once('.') else { return };
        let section = self.table.entry(section).or_insert_with(|| Value::Table(Table::new()));
        if let Value::Table(section) = section {
            section.insert(name.to_owned(), value);
        }
        self.origins.insert(setting.key.to_owned(), origin);
    }

    fn finish(self) -> Result<Loaded, ConfigError> {
        match Value::Table(self.table.clone()).try_into::<Config>() {
            Ok(config) => Ok(Loaded { config, origins: self.origins, files: self.files }),
            Err(error) => Err(self.blame(&error)),
        }
    }

    /// Finds the setting that made the whole fail, by trying each one alone.
    fn blame(&self, whole: &toml::de::Error) -> ConfigError {
        for (key, origin) in &self.origins {
            let Some((section, name)) = key.split_once('.') else { continue };
            let Some(value) = self.table.get(section).and_then(|section| section.get(name)) else {
                continue;
            };
            let alone = Table::from_iter([(
                section.to_owned(),
                Value::Table(Table::from_iter([(name.to_owned(), value.clone())])),
            )]);
            if let Err(error) = Value::Table(alone).try_into::<Config>() {
                let secret = SETTINGS.iter().any(|setting| setting.key == key && setting.secret);
                return ConfigError::Value {
                    key: key.clone(),
                    origin: origin.clone(),
                    message: if secret {
                        "has the wrong type or form".into()
                    } else {
                        error.message().to_owned()
                    },
                };
            }
        }
        ConfigError::Value {
            key: "configuration".into(),
            origin: Origin::File(PathBuf::from(DEFAULT_FILE)),
            message: whole.message().to_owned(),
        }
    }
}

fn unknown(name: &str, origin: Origin, spell: impl Fn(&Setting) -> String) -> ConfigError {
    let close = |candidate: &String| {
        let shared = candidate.chars().zip(name.chars()).take_while(|(a, b)| a == b).count();
        shared * 2 >= name.chars().count()
    };
    let similar = SETTINGS.iter().map(spell).filter(close).min_by_key(|candidate| {
        let same = candidate.chars().zip(name.chars()).filter(|(a, b)| a == b).count();
        name.len().max(candidate.len()) - same
    });
    ConfigError::Unknown { name: name.to_owned(), origin, similar }
}

#[cfg(test)]
mod tests;
