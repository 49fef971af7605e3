//! The real gateway and the real nats-server, each a process of its own.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};

use nixfleet_testbed::{Nats, Setup};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::TOKEN;
use crate::process::{Cores, Process};

/// The server of NATS.
pub(crate) struct Server {
    nats: Nats,
    pub(crate) process: Process,
    /// Has the file with its process id.
    _folder: TempDir,
}

impl Server {
    /// None if there is no program for it.
    pub(crate) fn start() -> Option<Self> {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("pid");
        let config = format!("pid_file: \"{}\"", file.display());
        let nats = Nats::with(&Setup { config, ..Setup::default() })?;
        let id = fs::read_to_string(file).expect("the server has written its process id");
        let process = Process::other(id.trim().parse().expect("a number"));
        Some(Self { nats, process, _folder: folder })
    }

    pub(crate) fn url(&self) -> String {
        self.nats.url()
    }
}

/// A gateway. It ends with its owner.
pub(crate) struct Gateway {
    pub(crate) process: Process,
    pub(crate) address: SocketAddr,
    /// Has the file with the token.
    _folder: TempDir,
}

impl Gateway {
    /// Starts this program on one core, and moves this process to the other one.
    pub(crate) fn start(program: &Path, nats: &Server, cores: Cores) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let tokens = folder.path().join("tokens");
        let digest: [u8; 32] = Sha256::digest(TOKEN).into();
        let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        fs::write(&tokens, format!("* {digest}")).expect("written");
        cores.to_measured();
        let mut command = Command::new(program);
        let settings = [
            ("LISTEN", "[\"127.0.0.1:0\"]".to_owned()),
            ("HEALTH_LISTEN", "127.0.0.1:0".to_owned()),
            ("TOKENS_FILE", tokens.display().to_string()),
            ("NATS__SERVERS", format!("[\"{}\"]", nats.url())),
            ("STREAMS__LOG_MAX_BYTES", "1000000000".to_owned()),
        ];
        command.envs(settings.map(|(name, value)| (format!("NIXFLEET_GATEWAY_{name}"), value)));
        // The files of connections are counted against the limit that this process has raised.
        let mut child =
            command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the gateway starts");
        cores.to_agents();
        let mut lines = BufReader::new(child.stderr.take().expect("a pipe")).lines().map_while(Result::ok);
        let mut said = |part: &str| lines.find(|line| line.contains(part)).expect("the gateway runs");
        let address = said("agents: ");
        said("agents are taken");
        // It must never wait for somebody to read its log.
        std::thread::spawn(move || lines.for_each(drop));
        let address =
            address.rsplit("agents: ").next().and_then(|rest| rest.strip_suffix("/ws")?.parse().ok());
        Self { process: child.into(), address: address.expect("an address"), _folder: folder }
    }
}
