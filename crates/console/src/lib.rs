//! The dashboard of a fleet that is kept in NATS.
//!
//! * `config` has the settings, and `login` decides who comes in; `networks` knows the proxies in front, `prompt`
//!   asks for a password.
//! * `source` reads the fleet out of NATS into the hub of `nixfleet-dashboard`; `asks` passes on what people ask of hosts.
#![cfg_attr(test, allow(clippy::string_slice, reason = "a wrong index fails the test"))]
#![cfg_attr(not(test), warn(clippy::disallowed_methods))]

pub use config::{Config, ConfigError};
pub use console::{Console, Settings, StartError};
pub use login::{
    KeyError, Login, LoginError, PasswordError, PeopleError, check_name, login_line, new_session_key,
};
pub use prompt::{PromptError, new_password};

mod asks;
mod config;
mod console;
mod login;
mod networks;
mod prompt;
mod source;
