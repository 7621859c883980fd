//! What a server is set to, and where each value comes from.
//!
//! 1. Every key has a default ([`keys`]).
//! 2. A file in TOML overrides it, the environment the file (`NORIKV_SECTION__KEY`), and the command line all of them.
//! 3. A key that does not exist is an error with the nearest name, and so is a value that cannot be; each says where it stands.
//! 4. What the values mean together is worked out last ([`resolve`]).
//!
//! Values are kept as they were written until then, so that `config print --effective` shows what somebody wrote and where.

mod file;
pub mod keys;
pub mod resolve;
mod units;

use keys::Key;
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

/// Before the names of variables.
const ENV_PREFIX: &str = "NORIKV_";

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nobody said anything.
    Default,
    /// A line of a file.
    File(PathBuf, usize),
    /// A variable of the environment.
    Env(String),
    /// The command line.
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path, line) => write!(f, "{}:{line}", path.display()),
            Self::Env(name) => write!(f, "environment, {name}"),
            Self::Flag(flag) => write!(f, "command line, {flag}"),
        }
    }
}

/// A value and where it comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Value {
    /// As it was written; the parts of a list are separated by commas.
    pub text: String,
    /// Where.
    pub origin: Origin,
}

/// What is wrong with the settings. The program ends with exit code 2.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// There is no such key.
    #[error("{origin}: there is no `{name}`{}", near(nearest.as_deref()))]
    UnknownKey {
        /// Where it stands.
        origin: Origin,
        /// What stands there.
        name: String,
        /// The key most like it.
        nearest: Option<String>,
    },
    /// The value cannot be.
    #[error("{origin}: {name} cannot be `{given}`: {why}")]
    Value {
        /// Where it stands.
        origin: Origin,
        /// Of which key.
        name: String,
        /// What stands there.
        given: String,
        /// What would be right.
        why: String,
    },
    /// The file is no TOML.
    #[error("{}:{line}: {what}", path.display())]
    Syntax {
        /// Which.
        path: PathBuf,
        /// Where.
        line: usize,
        /// What is wrong.
        what: String,
    },
    /// The file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// As the operating system says it.
        source: std::io::Error,
    },
    /// Values that do not go together.
    #[error("{0}")]
    Together(String),
}

fn near(nearest: Option<&str>) -> String {
    nearest.map_or_else(String::new, |name| format!("; did you mean `{name}`?"))
}

/// The values of all keys.
#[derive(Clone, Debug)]
pub struct Config {
    values: BTreeMap<String, Value>,
}

impl Config {
    /// The defaults.
    pub fn new() -> Self {
        let default = |key: &Key| {
            let value = Value { text: key.default.clone(), origin: Origin::Default };
            (key.name.clone(), value)
        };
        Self { values: keys::all().iter().map(default).collect() }
    }

    /// With what a file says.
    ///
    /// # Errors
    ///
    /// If it cannot be read, is no TOML, or says what cannot be.
    pub fn read(&mut self, path: &Path) -> Result<(), ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })?;
        for (name, value, line) in file::entries(path, &text)? {
            self.set(&name, value, Origin::File(path.to_owned(), line))?;
        }
        Ok(())
    }

    /// With what variables say; of others than ours nothing is looked at.
    ///
    /// # Errors
    ///
    /// If one says what cannot be.
    pub fn environment(
        &mut self,
        variables: impl Iterator<Item = (String, String)>,
    ) -> Result<(), ConfigError> {
        for (variable, value) in variables {
            let Some(rest) = variable.strip_prefix(ENV_PREFIX) else { continue };
            // `NORIKV_SERVER_BIN` and the like are of other programs.
            let Some((section, key)) = rest.split_once("__") else { continue };
            let name = format!("{}.{}", section.to_lowercase(), key.to_lowercase());
            self.set(&name, value, Origin::Env(variable))?;
        }
        Ok(())
    }

    /// With one value.
    ///
    /// # Errors
    ///
    /// If there is no such key, or it cannot be that.
    pub fn set(&mut self, name: &str, text: String, origin: Origin) -> Result<(), ConfigError> {
        let Some(key) = keys::find(name) else {
            let nearest = keys::nearest(name);
            return Err(ConfigError::UnknownKey { origin, name: name.to_owned(), nearest });
        };
        if let Err(why) = key.check(&text) {
            return Err(ConfigError::Value { origin, name: name.to_owned(), given: text, why });
        }
        self.values.insert(name.to_owned(), Value { text, origin });
        Ok(())
    }

    /// The value of a key.
    ///
    /// # Panics
    ///
    /// If there is no such key: that would be a fault of this program.
    pub fn value(&self, name: &str) -> &Value {
        self.values.get(name).unwrap_or_else(|| panic!("no key is called {name}"))
    }

    /// All values, by name.
    pub fn values(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.values.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// All of it in TOML: what a file has to say for the same; with where each value comes from, if that is asked for.
    pub fn print(&self, with_origins: bool) -> String {
        let (mut text, mut section) = (String::new(), "");
        for key in keys::all() {
            let value = self.value(&key.name);
            let (of, name) = key.name.split_once('.').unwrap_or(("", &key.name));
            if of != section {
                text += &format!("{}[{of}]\n", if section.is_empty() { "" } else { "\n" });
                section = of;
            }
            let comment = if with_origins { value.origin.to_string() } else { key.about.clone() };
            // What has no value is shown and not set.
            let hidden = if value.text.is_empty() && !key.is_list() { "# " } else { "" };
            text += &format!("{hidden}{name} = {}  # {comment}\n", key.toml(&value.text));
        }
        text
    }
}

impl Default for Config {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests;
