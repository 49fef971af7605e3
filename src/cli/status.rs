//! `nixfleet-agent status`, and the agent's side that answers it.
//!
//! ```text
//! page.rs     the answer for people; page/details.rs: what --verbose adds
//! ```

use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;

use jiff::Timestamp;
use rustix::process::geteuid;
use tokio::sync::watch;

use nixfleet_config::{Connection, Host, Source};
use nixfleet_os::short;
use nixfleet_protocol::LastGoodSettings;
use nixfleet_vitals::Moment;
use nixfleet_vitals::device::Meters;
use nixfleet_vitals::prewarm::Hook;

use super::terminal::{self, Color};
use super::zone::Zone;
use super::{Failure, complain};
use crate::doctor;
use crate::facts::Facts;
use crate::observe::http::Endpoint;
use crate::observe::journald::Priority;
use crate::observe::prometheus::Look;
use crate::observe::status::client::NoAnswer;
use crate::observe::status::{self, Asker, Collector, Report, client, serve};
use page::Style;

mod page;

/// Options of `status`.
#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// The whole answer as one JSON document
    #[arg(long)]
    json: bool,
    /// Also how the agent itself is: its queues, its heartbeats, and what its looks at the host cost
    #[arg(long, short, conflicts_with = "json")]
    verbose: bool,
    /// Times in UTC instead of the host's time zone
    #[arg(long)]
    utc: bool,
    /// Colours
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    color: Color,
}

/// Asks the agent of this host and shows its answer.
pub(super) fn run(source: &Source, options: &Options) -> Result<(), Failure> {
    let (host, instead) = Host::to_look_at(source);
    if let Some(line) = instead {
        complain(Priority::Warning, &format!("warning: {line}"));
    }
    let document = client::ask(&client::places(&host)).map_err(|why| Failure::Start(in_words(&why)))?;
    let report: Report = serde_json::from_slice(&document)
        .map_err(|err| Failure::Start(format!("the agent's answer makes no sense: {err}")))?;
    let text = if options.json {
        // Printed unchanged, so that fields which this version does not know are passed on.
        String::from_utf8_lossy(&document).into_owned() + "\n"
    } else {
        let style = Style {
            width: terminal::width(),
            colours: options.color.look().colours,
            zone: Zone::new(options.utc),
            verbose: options.verbose,
        };
        page::page(&report, Timestamp::now(), &style)
    };
    // A closed pipe is not an error: the reader has seen enough.
    drop(io::stdout().write_all(text.as_bytes()));
    Ok(())
}

/// Why no agent answers. A user is told by name.
fn in_words(why: &NoAnswer) -> String {
    match why {
        NoAnswer::NotTheUser { socket, owner } => {
            let name = |uid| doctor::user_name(uid).unwrap_or_else(|| uid.to_string());
            let owner = if *owner == 0 { String::new() } else { format!("{} and ", name(*owner)) };
            let (socket, own) = (socket.display(), name(geteuid().as_raw()));
            format!(
                "the agent at {socket} answers {owner}root only, and this is {own}: sudo nixfleet-agent status"
            )
        }
        other => other.to_string(),
    }
}

/// The parts of a report that the agent's loop does not know, and the addresses to answer at.
pub(super) struct About {
    dashboard: String,
    proxy: Option<String>,
    socket: (PathBuf, u32),
    listen: Option<std::net::SocketAddr>,
    meters: Arc<Meters>,
    hook: Option<Hook>,
    last_good: Option<LastGoodSettings>,
    facts: watch::Receiver<Arc<Facts>>,
}

impl About {
    pub(super) fn new(
        connection: &Connection,
        host: &Host,
        meters: &Arc<Meters>,
        hook: Option<Hook>,
        last_good: Option<LastGoodSettings>,
        facts: watch::Receiver<Arc<Facts>>,
    ) -> Self {
        let dashboard = connection.url.to_string();
        Self {
            dashboard,
            proxy: connection.way.proxy().map(|_| connection.way.to_string()),
            socket: client::listens_at(host),
            listen: host.metrics.listen,
            meters: Arc::clone(meters),
            hook,
            last_good,
            facts,
        }
    }

    /// Starts to answer. A socket or port that cannot be used is logged; the agent runs without it.
    pub(super) async fn answer(self, asker: Asker) {
        let Self { dashboard, proxy, socket: (path, mode), listen, meters, hook, last_good, facts } = self;
        let endpoint = match listen {
            None => None,
            Some(address) => match Endpoint::bind(address).await {
                Ok(endpoint) => Some(endpoint),
                Err(err) => {
                    tracing::warn!("No metrics at {address}: {err}. Change NIXFLEET_METRICS__LISTEN.");
                    None
                }
            },
        };
        let metrics_at = endpoint.as_ref().map(|endpoint| endpoint.address().to_string());
        let look = {
            let meters = Arc::clone(&meters);
            move || look(&meters, &facts)
        };
        let add = move |report: &mut Report| {
            report.dashboard.clone_from(&dashboard);
            report.proxy.clone_from(&proxy);
            report.metrics_at.clone_from(&metrics_at);
            report.last_good_settings.clone_from(&last_good);
            if let Some(host) = &mut report.host {
                let reboot = meters.vitals().at(Moment::now()).reboot_required;
                host.measured(reboot.map(|required| required.value));
            }
            report.collectors = collectors(&meters);
            report.gpu_timeouts = meters.gpus().timeouts();
            report.prewarm_dropped = hook.as_ref().map_or(0, Hook::dropped);
        };
        let source = Arc::new(status::Source::new(asker, add));
        if let Err(err) = serve::spawn(&path, mode, Arc::clone(&source)) {
            tracing::warn!("No answer to `status` at {}: {err}.", path.display());
        }
        if let Some(endpoint) = endpoint {
            tracing::info!("Metrics are at http://{}/metrics.", endpoint.address());
            endpoint.spawn(source, look);
        }
    }
}

/// The newest snapshots of the host. Touches no file and never waits.
fn look(meters: &Meters, facts: &watch::Receiver<Arc<Facts>>) -> Look {
    let moment = Moment::now();
    Look {
        vitals: meters.vitals().at(moment),
        // Not by `at`, which counts how often a heartbeat finds nothing.
        gpus: meters.gpus().watch().borrow().clone(),
        workload: meters.vitals().workload(),
        facts: Arc::clone(&facts.borrow()),
        at: Timestamp::now(),
        moment,
    }
}

fn collectors(meters: &Meters) -> std::collections::BTreeMap<String, status::Collector> {
    let stats = meters.vitals().collectors().stats();
    let named = stats.into_iter().map(|stats| {
        let collector = Collector {
            runs: stats.runs,
            errors: stats.errors,
            timeouts: stats.timeouts,
            last_s: stats.last.as_secs_f64(),
            total_s: stats.total.as_secs_f64(),
        };
        (stats.name.to_owned(), collector)
    });
    short::gather(named)
}
