//! Fuzz targets: the parsers of nixfleet-agent, each with an invariant besides "no panic".
//!
//! A target is a function of bytes that panics when the invariant does not hold. libFuzzer calls it from `fuzz/`, and
//! [`mutate`] calls it on any stable compiler; `cargo xtask fuzz` chooses. The inputs that both begin with are in
//! `corpus/`, the words that they insert in `dictionaries/`. `docs/reliability.md` lists what each target promises.

pub mod mutate;

mod address;
mod boot_files;
mod certificate;
mod environment_file;
mod git_words;
mod gpu_answer;
mod job_files;
mod journal;
mod lines;
mod messages;
mod nix_log;
mod proxy_answer;
mod readings;
mod retry_after;
mod salvage;
mod settings;
mod switch_lines;
mod terminal_text;
mod token_file;
mod upgrade_answer;
mod vitals;
mod workload;

pub use address::address;
pub use boot_files::boot_files;
pub use certificate::certificate;
pub use environment_file::environment_file;
pub use git_words::git_words;
pub use gpu_answer::gpu_answer;
pub use job_files::job_files;
pub use journal::journal;
pub use lines::lines;
pub use messages::{messages, registered};
pub use nix_log::nix_log;
pub use proxy_answer::proxy_answer;
pub use readings::{heartbeat_conf, stasysmo};
pub use retry_after::retry_after;
pub use salvage::salvage;
pub use settings::settings;
pub use switch_lines::switch_lines;
pub use terminal_text::terminal_text;
pub use token_file::token_file;
pub use upgrade_answer::upgrade_answer;
pub use vitals::vitals;
pub use workload::workload;

/// A target: its name, which is that of its corpus, and its function.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: [Target; 24] = [
    ("messages", messages),
    ("registered", registered),
    ("job_files", job_files),
    ("journal", journal),
    ("stasysmo", stasysmo),
    ("heartbeat_conf", heartbeat_conf),
    ("vitals", vitals),
    ("nix_log", nix_log),
    ("switch_lines", switch_lines),
    ("git_words", git_words),
    ("settings", settings),
    ("environment_file", environment_file),
    ("terminal_text", terminal_text),
    ("lines", lines),
    ("address", address),
    ("workload", workload),
    ("gpu_answer", gpu_answer),
    ("retry_after", retry_after),
    ("token_file", token_file),
    ("salvage", salvage),
    ("boot_files", boot_files),
    ("upgrade_answer", upgrade_answer),
    ("certificate", certificate),
    ("proxy_answer", proxy_answer),
];

/// A folder of this process for files that a parser reads, in memory where the system has such a file system.
fn scratch() -> tempfile::TempDir {
    let memory = std::path::Path::new("/dev/shm");
    let made = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    made.expect("a folder for the files of a target")
}
