//! One server.

use std::fs;
use std::io::{BufRead, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::place::{CLIENTS, MONITOR, Place};

/// How long a server may take to answer after its start, also beside other builds.
pub(crate) const START_LIMIT: Duration = Duration::from_secs(30);

/// How long one answer of it may take. Then it is asked again.
const ANSWER_LIMIT: Duration = Duration::from_secs(1);

/// What a server promises to its streams together, in bytes. Without it, that is a part of what is free on the disk, and
/// a stream with a limit of its own needs as much.
const STORE: u64 = 1 << 40;

/// What a server is like.
#[derive(Debug, Clone, Default)]
pub struct Setup {
    /// More lines of its configuration.
    pub config: String,
    /// Its name. A cluster needs one for each server.
    pub name: Option<String>,
}

/// A server with JetStream, ended when this is dropped.
#[derive(Debug)]
pub struct Nats {
    folder: TempDir,
    place: Place,
    child: Option<Child>,
}

impl Nats {
    /// Starts one. None if there is no program for it, which is said on standard error.
    ///
    /// # Panics
    /// If it does not answer in time.
    #[must_use]
    pub fn start() -> Option<Self> {
        Self::with(&Setup::default())
    }

    /// Starts one that is like this.
    ///
    /// # Panics
    /// As [`start`](Self::start).
    #[must_use]
    pub fn with(setup: &Setup) -> Option<Self> {
        let mut nats = Self::prepare(Place::take(), setup)?;
        nats.start_again();
        nats.wait();
        Some(nats)
    }

    /// One that is not started yet.
    pub(crate) fn prepare(place: Place, setup: &Setup) -> Option<Self> {
        super::program()?;
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (address, monitor) = (place.at(CLIENTS), place.at(MONITOR));
        let name = setup.name.clone().unwrap_or_else(|| "nats".to_owned());
        let store = folder.path().join("store");
        let config = format!(
            "listen: \"{address}\"\nhttp: \"{monitor}\"\nserver_name: \"{name}\"\n\
             jetstream: {{ store_dir: \"{}\", max_file_store: {STORE} }}\n{}\n",
            store.display(),
            setup.config
        );
        fs::write(folder.path().join("nats.conf"), config).expect("the configuration is written");
        Some(Self { folder, place, child: None })
    }

    /// Its address, for clients.
    #[must_use]
    pub fn url(&self) -> String {
        format!("nats://{}", self.address())
    }

    /// Its address and port, for clients.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.place.at(CLIENTS)
    }

    /// Its log so far.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    /// Starts it again, at the same address and with the same store.
    ///
    /// # Panics
    /// If it runs already.
    pub fn start_again(&mut self) {
        assert!(self.child.is_none(), "the server runs already");
        let program = super::program().expect("it was found before");
        let log = fs::File::options().create(true).append(true).open(self.log_file()).expect("the log opens");
        // It has to end with the test's process even if that is killed, so it is watched over by a shell that reads
        // from a pipe of the test.
        let script = "\"$0\" -c \"$1\" & server=$!; trap 'kill -KILL $server' TERM; \
                      (while read -r how; do kill -\"$how\" $server; done; kill -KILL $server) <&3 & wait $server";
        let mut command = Command::new("sh");
        command.arg("-c").arg(format!("exec 3<&0; {script}")).arg(program);
        command.arg(self.folder.path().join("nats.conf"));
        let errors = log.try_clone().expect("a file handle");
        command.stdin(Stdio::piped()).stdout(log).stderr(errors);
        self.child = Some(command.spawn().expect("the server starts"));
    }

    /// Waits until it takes clients.
    ///
    /// # Panics
    /// If it does not in time.
    pub fn wait(&self) {
        let begun = Instant::now();
        while !self.answers() {
            assert!(begun.elapsed() < START_LIMIT, "no server at {}:\n{}", self.address(), self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Ends it in order.
    pub fn stop(&mut self) {
        self.end("TERM");
    }

    /// Ends it at once.
    pub fn kill(&mut self) {
        self.end("KILL");
    }

    /// Halts its process, as a machine that hangs: its connections stay open, and nothing answers.
    ///
    /// # Panics
    /// It goes on answering.
    pub fn pause(&mut self) {
        self.say("STOP");
        let begun = Instant::now();
        while self.answers() {
            assert!(begun.elapsed() < START_LIMIT, "it is not halted:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Lets it go on after [`pause`](Self::pause).
    pub fn resume(&mut self) {
        self.say("CONT");
    }

    /// The server that leads the cluster, as this one sees it. None if it sees none, or does not answer.
    pub(crate) fn leader(&self) -> Option<String> {
        let mut stream = TcpStream::connect(self.place.at(MONITOR)).ok()?;
        stream.set_read_timeout(Some(ANSWER_LIMIT)).ok()?;
        stream.write_all(b"GET /jsz HTTP/1.0\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (_, body) = answer.split_once("\r\n\r\n")?;
        let state: serde_json::Value = serde_json::from_str(body).ok()?;
        let leader = state.pointer("/meta_cluster/leader")?.as_str()?;
        (!leader.is_empty()).then(|| leader.to_owned())
    }

    /// The first line that a server says to a client.
    fn answers(&self) -> bool {
        let Ok(stream) = TcpStream::connect(self.address()) else { return false };
        if stream.set_read_timeout(Some(ANSWER_LIMIT)).is_err() {
            return false;
        }
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).is_ok() && line.starts_with("INFO ")
    }

    fn end(&mut self, signal: &str) {
        self.say(signal);
        // One that is halted gets it now.
        self.say("CONT");
        // Its standard input is closed only afterwards, which would kill it.
        if let Some(mut child) = self.child.take() {
            let input = child.stdin.take();
            drop(child.wait());
            drop(input);
        }
    }

    /// Sends it a signal.
    fn say(&mut self, signal: &str) {
        if let Some(input) = self.child.as_mut().and_then(|child| child.stdin.as_mut()) {
            // An error means that it has ended by itself.
            drop(writeln!(input, "{signal}"));
        }
    }

    fn log_file(&self) -> PathBuf {
        self.folder.path().join("nats.log")
    }
}

impl Drop for Nats {
    fn drop(&mut self) {
        self.kill();
    }
}
