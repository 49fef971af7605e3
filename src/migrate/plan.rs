//! The plan: new settings, and what is different on this host.

use std::path::PathBuf;

/// The value of a setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    Text(String),
    Number(i64),
}

/// A new setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Setting {
    pub(super) key: &'static str,
    pub(super) value: Value,
    /// Why it is not what was set before.
    pub(super) comment: Option<&'static str>,
}

/// Something that is different on this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// What it is about, in a word or two.
    pub about: &'static str,
    /// What is different.
    pub text: String,
    /// What to do; empty if nothing.
    pub fix: String,
}

/// The new settings, and what is different.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    pub(super) settings: Vec<Setting>,
    /// A file of the old agent that the NixOS module can pass the token from.
    pub(super) token_file: Option<PathBuf>,
    /// What is different on this host.
    pub differences: Vec<Difference>,
    /// Whether this agent accepts the settings, with a token.
    pub is_complete: bool,
    /// Whether a setting contains a password, so that not everybody may read the file.
    pub holds_password: bool,
}

impl Plan {
    pub(super) fn set(&mut self, key: &'static str, value: impl Into<String>, comment: Option<&'static str>) {
        self.settings.push(Setting { key, value: Value::Text(value.into()), comment });
    }

    /// Adds a difference.
    pub fn tell(&mut self, about: &'static str, text: impl Into<String>, fix: impl Into<String>) {
        self.differences.push(Difference { about, text: text.into(), fix: fix.into() });
    }
}
