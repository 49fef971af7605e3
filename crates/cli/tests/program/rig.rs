//! A NATS with hosts, and the program.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::{Output, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_nats::{Client, jetstream};
use futures_util::StreamExt;
use nixfleet_fleet::{
    Beat, Claim, Layout, Login, Options, Reply, Request, Sizes, connect, facts, names, said,
};
use nixfleet_protocol::{
    AgentMessage, BatchLine, CommandRejected, DashboardMessage, Heartbeat, OutputBatch, Register, Status,
    StatusKind, Stream, encode,
};
use nixfleet_testbed::{Nats, Setup};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

/// Longest wait for the program.
const PATIENCE: Duration = Duration::from_secs(60);

/// The heartbeats' interval of hosts that stay online for a test, and of those that do not.
pub(crate) const LONG: Duration = Duration::from_secs(600);

/// A fleet.
pub(crate) struct Rig {
    pub(crate) nats: Nats,
    pub(crate) client: Client,
    pub(crate) jetstream: jetstream::Context,
    pub(crate) layout: Layout,
    home: tempfile::TempDir,
}

impl Rig {
    /// None without a server.
    pub(crate) async fn new() -> Option<Self> {
        Some(Self::on(Nats::start()?, Options::default()).await)
    }

    /// One in which the program has the login of an operator, and the hosts that of a gateway.
    pub(crate) async fn with_logins() -> Option<Self> {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join(".config/nixfleet");
        fs::create_dir_all(&folder).unwrap();
        let mut keys = String::new();
        for name in ["gateway", "dashboard", "operator"] {
            let pair = nkeys::KeyPair::new_user();
            writeln!(keys, "{}_KEY: {}", name.to_uppercase(), pair.public_key()).unwrap();
            fs::write(folder.join(format!("{name}.nk")), format!("{}\n", pair.seed().unwrap())).unwrap();
        }
        let settings = "[nats]\nnkey_file = \"operator.nk\"\ninbox_prefix = \"_INBOX_operator\"\n";
        fs::write(folder.join("cli.toml"), settings).unwrap();
        let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../dist/nats/logins.conf");
        let config = fs::read_to_string(shipped).unwrap().replace("include keys.conf", &keys);
        let nats = Nats::with(&Setup { config, name: None })?;
        let options = Options {
            login: Login::Nkey(folder.join("gateway.nk")),
            inbox_prefix: Some("_INBOX_gateway".to_owned()),
            ..Options::default()
        };
        Some(Self { home, ..Self::on(nats, options).await })
    }

    async fn on(nats: Nats, options: Options) -> Self {
        let client = connect(&Options { servers: vec![nats.url()], ..options }).await.unwrap();
        let jetstream = jetstream::new(client.clone());
        let layout = Layout::ensure(&jetstream, &Sizes::default()).await.unwrap();
        Self { nats, client, jetstream, layout, home: tempfile::tempdir().unwrap() }
    }

    /// The program with these arguments, without anything of the person who runs the test.
    pub(crate) fn command(&self, words: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_nixfleet"));
        command.env_clear().env("HOME", self.home.path()).env("NIXFLEET_NATS_SERVERS", self.nats.url());
        command.args(words.split_whitespace()).stdin(Stdio::null()).kill_on_drop(true);
        command
    }

    /// Runs it: exit code, standard output, standard error.
    pub(crate) async fn run(&self, words: &str) -> (i32, String, String) {
        let output = timeout(PATIENCE, self.command(words).output()).await.expect("it ends").unwrap();
        texts(&output)
    }

    /// Starts it.
    pub(crate) fn start(&self, words: &str) -> Child {
        self.command(words).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// A host that is online.
    pub(crate) async fn host(&self, name: &str) -> Host {
        let claim = Claim::take(&self.layout.owners, name, "gw1-a", 1_784_030_400_000).await.unwrap();
        let connection = claim.owner.connection;
        let register = Register {
            hostname: name.to_owned(),
            agent_version: "0.1.0".to_owned(),
            generation: "0badf00".to_owned(),
            ..Register::default()
        };
        let register = encode(&AgentMessage::Register(Box::new(register)));
        facts::store(&self.jetstream, &self.layout.hosts, name, connection, 1, register.into())
            .await
            .unwrap();
        let host = Host {
            name: name.to_owned(),
            connection,
            client: self.client.clone(),
            jetstream: self.jetstream.clone(),
            asked: Arc::default(),
        };
        host.beat(None, LONG).await;
        host
    }
}

/// Standard output of a program that was started, line by line.
pub(crate) type Lines = tokio::io::Lines<BufReader<ChildStdout>>;

/// Its standard output from now on.
pub(crate) fn lines(child: &mut Child) -> Lines {
    BufReader::new(child.stdout.take().unwrap()).lines()
}

/// The next line. None if there is no more.
pub(crate) async fn next(lines: &mut Lines) -> Option<String> {
    timeout(PATIENCE, lines.next_line()).await.expect("a line, or the end").unwrap()
}

/// The end of a program that was started.
pub(crate) async fn end(child: Child) -> (i32, String, String) {
    texts(&timeout(PATIENCE, child.wait_with_output()).await.expect("it ends").unwrap())
}

pub(crate) fn texts(output: &Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
}

/// What a host does with a command.
#[derive(Clone)]
pub(crate) enum Play {
    /// Says so many lines, each in an entry of its own and twice, and ends so.
    Ends(u64, StatusKind),
    /// Answers without a job.
    Answers(StatusKind),
    /// As with so many lines, but its gateway asks for patience at first.
    Refuses(u64),
    /// Something else runs.
    Rejects,
    /// Nobody replies. The command runs nevertheless, if that is said.
    IsLost(bool),
    /// Nobody replies, and the command runs for ever.
    IsLostAndHangs,
    /// Runs for ever.
    Hangs,
}

/// A command, and the id of its request.
pub(crate) type Asked = (String, Option<String>);

/// A host, and its gateway.
#[derive(Clone)]
pub(crate) struct Host {
    pub(crate) name: String,
    connection: u64,
    client: Client,
    jetstream: jetstream::Context,
    /// The commands that it was asked for, and their ids.
    pub(crate) asked: Arc<Mutex<Vec<Asked>>>,
}

/// Ids of jobs, which sort in the order in which they are made.
static JOBS: AtomicU64 = AtomicU64::new(1);

pub(crate) fn new_job() -> String {
    format!("{:032x}", JOBS.fetch_add(1, Ordering::Relaxed))
}

impl Host {
    /// Waits until it is asked for something.
    pub(crate) async fn is_asked(&self) {
        let asked = async {
            while self.asked.lock().unwrap().is_empty() {
                tokio::task::yield_now().await;
            }
        };
        timeout(PATIENCE, asked).await.expect("it is asked");
    }

    /// A heartbeat.
    pub(crate) async fn beat(&self, running: Option<&str>, interval: Duration) {
        let beat = Heartbeat {
            generation: "0badf00".to_owned(),
            nixpkgs_version: "26.05".to_owned(),
            pending_command: running.map(str::to_owned),
            ..Heartbeat::default()
        };
        let Beat { subject, headers } = Beat::new(&self.name, self.connection, 1_784_030_400_000, interval);
        let text = encode(&AgentMessage::Heartbeat(Box::new(beat)));
        self.jetstream.publish_with_headers(subject, headers, text.into()).await.unwrap().await.unwrap();
    }

    /// Says something about a command.
    pub(crate) async fn say(&self, message: AgentMessage) {
        let said = said(&self.name, self.connection, 1_784_030_400_000, &message).unwrap();
        for subject in said.subjects {
            let (headers, text) = (said.headers.clone(), encode(&message));
            self.jetstream.publish_with_headers(subject, headers, text.into()).await.unwrap().await.unwrap();
        }
    }

    /// Says these lines of a job.
    pub(crate) async fn lines(&self, command: &str, job: &str, seqs: std::ops::RangeInclusive<u64>) {
        let line = |seq| BatchLine {
            seq,
            at: "2026-07-14T12:00:31.004Z".to_owned(),
            stream: Stream::Stdout,
            line: format!("line {seq} of {command}"),
            cont: false,
        };
        let lines = seqs.map(line).collect();
        self.say(AgentMessage::OutputBatch(OutputBatch {
            command: command.to_owned(),
            job_id: job.to_owned(),
            lines,
        }))
        .await;
    }

    /// Says how a job ended.
    pub(crate) async fn ends(&self, command: &str, job: &str, kind: StatusKind, lines: u64) {
        let code = i32::from(kind != StatusKind::Ok);
        let status = Status {
            job_id: Some(job.to_owned()),
            lines: Some(lines),
            duration_ms: Some(1500),
            ..Status::answer(command, kind, code, &format!("{command} is {kind:?}"))
        };
        self.say(AgentMessage::Status(status)).await;
    }

    /// Takes commands from now on.
    pub(crate) async fn plays(&self, play: Play) {
        let subject = names::command(&self.name);
        let mut requests = self.client.queue_subscribe(subject, names::OWNER_GROUP.to_owned()).await.unwrap();
        self.client.flush().await.unwrap();
        let host = self.clone();
        tokio::spawn(async move {
            while let Some(message) = requests.next().await {
                let reply_to = message.reply.clone();
                let Request(request) = Request::decode(&message.payload).unwrap();
                let (command, id) = match request {
                    DashboardMessage::Command(request) => (request.command, request.id),
                    DashboardMessage::KillCommand(_) => ("kill_command".to_owned(), None),
                    other => panic!("{other:?}"),
                };
                host.asked.lock().unwrap().push((command.clone(), id.clone()));
                let reply = host.reply(&play, &command, id.as_deref());
                if let (Some(reply), Some(reply_to)) = (reply, reply_to) {
                    let reply = serde_json::to_vec(&reply).unwrap();
                    host.client.publish(reply_to, reply.into()).await.unwrap();
                }
                host.act(&play, &command).await;
            }
        });
    }

    fn reply(&self, play: &Play, command: &str, id: Option<&str>) -> Option<Reply> {
        if matches!(command, "stop" | "kill" | "kill_command") {
            return Some(Reply::Sent);
        }
        match play {
            Play::Rejects => Some(Reply::Rejected {
                rejection: CommandRejected {
                    reason: "command already running".to_owned(),
                    current_command: Some("pull".to_owned()),
                    current_pid: Some(7),
                    command: Some(command.to_owned()),
                    command_id: id.map(str::to_owned),
                },
            }),
            Play::Refuses(_) if self.asked.lock().unwrap().len() == 1 => {
                Some(Reply::Refused { reason: "it registers".to_owned() })
            }
            Play::IsLost(_) | Play::IsLostAndHangs => {
                Some(Reply::Unknown { reason: "the connection ended".to_owned() })
            }
            _ => Some(Reply::Accepted { evidence: "output".to_owned() }),
        }
    }

    async fn act(&self, play: &Play, command: &str) {
        match play {
            Play::Refuses(lines) if self.asked.lock().unwrap().len() > 1 => {
                let job = new_job();
                self.lines(command, &job, 1..=*lines).await;
                self.ends(command, &job, StatusKind::Ok, *lines).await;
            }
            Play::Ends(lines, kind) => {
                let job = new_job();
                for seq in 1..=*lines {
                    self.lines(command, &job, seq..=seq).await;
                    // Other pieces have another id, so they are stored again.
                    self.lines(command, &job, 1..=seq).await;
                }
                self.ends(command, &job, *kind, *lines).await;
            }
            Play::Answers(kind) => {
                self.say(AgentMessage::Status(Status::answer(command, *kind, 0, "answered"))).await;
            }
            Play::IsLostAndHangs => self.lines(command, &new_job(), 1..=1).await,
            Play::IsLost(true) => self.ends(command, &new_job(), StatusKind::Ok, 0).await,
            Play::Refuses(_) | Play::IsLost(false) | Play::Rejects | Play::Hangs => {}
        }
    }
}
