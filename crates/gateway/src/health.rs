//! Health and figures, for those who watch over the gateway.

use std::sync::Arc;
use std::sync::OnceLock;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;

use crate::figures::{ACK_MS, Count, Figures};
use crate::gate::{Closed, Gate};

/// Content type of metrics (Prometheus, exposition formats).
const TEXT: &str = "text/plain; version=0.0.4";

/// The gateway, once NATS was reached.
pub(crate) type Gateway = Arc<OnceLock<Arc<Gate>>>;

/// Serves for as long as it is polled.
pub(crate) async fn serve(listener: TcpListener, gateway: Gateway) {
    let router = Router::new()
        .route("/healthz", get(|| async { "alive\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(gateway);
    // It never ends by itself.
    drop(axum::serve(listener, router).await);
}

async fn ready(State(gateway): State<Gateway>) -> Response {
    let why = match gateway.get().map(|gate| gate.closed()) {
        Some(None) => return "ready\n".into_response(),
        None => "NATS was not reached yet\n",
        Some(Some(Closed::Away)) => "NATS cannot be used\n",
        Some(Some(Closed::Draining)) => "the gateway ends\n",
    };
    (StatusCode::SERVICE_UNAVAILABLE, why).into_response()
}

async fn metrics(State(gateway): State<Gateway>) -> Response {
    let mut text = Text::default();
    text.family("nixfleet_gateway_info", "gauge", "The version of the gateway.");
    text.line("nixfleet_gateway_info", &format!("{{version=\"{}\"}}", env!("CARGO_PKG_VERSION")), 1);
    if let Some(gate) = gateway.get() {
        text.gate(gate);
    }
    ([(header::CONTENT_TYPE, TEXT)], text.0).into_response()
}

/// Metrics, as they are written.
#[derive(Default)]
struct Text(String);

impl Text {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        self.0.push_str(&format!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
    }

    fn line(&mut self, name: &str, labels: &str, value: impl std::fmt::Display) {
        self.0.push_str(&format!("{name}{labels} {value}\n"));
    }

    fn gauge(&mut self, name: &str, help: &str, value: usize) {
        let name = format!("nixfleet_gateway_{name}");
        self.family(&name, "gauge", help);
        self.line(&name, "", value);
    }

    fn counter(&mut self, name: &str, help: &str, count: &Count) {
        let name = format!("nixfleet_gateway_{name}_total");
        self.family(&name, "counter", help);
        self.line(&name, "", count.get());
    }

    fn gate(&mut self, gate: &Gate) {
        let usable = usize::from(gate.bus.is_usable());
        self.gauge("nats_usable", "1 if NATS stores what this gateway says.", usable);
        self.gauge("hosts", "Hosts that are connected.", gate.directory.len());
        self.gauge("waiting_bytes", "Bytes of messages that NATS has not stored yet.", gate.waiting());
        self.gauge(
            "leaving",
            "Connections that have ended and are still being given up.",
            gate.leaving.len(),
        );
        self.figures(&gate.figures);
    }

    fn figures(&mut self, figures: &Figures) {
        let counters: [(&str, &str, &Count); 16] = [
            ("beats_passed", "Heartbeats given to NATS.", &figures.beats_passed),
            ("beats_dropped", "Heartbeats dropped while NATS was away or slow.", &figures.beats_dropped),
            ("messages_stored", "Messages about commands that NATS has stored.", &figures.stored),
            ("store_failures", "Attempts to store that failed and were made again.", &figures.store_failures),
            (
                "messages_unstorable",
                "Messages dropped because NATS will never store them.",
                &figures.unstorable,
            ),
            ("frames_ignored", "Frames of agents that could not be read.", &figures.ignored),
            ("registrations", "Connections that NATS knows of.", &figures.registrations),
            ("owners_moved", "Registrations that replaced a connection on another gateway.", &figures.moves),
            ("registration_failures", "Registrations that failed.", &figures.registration_failures),
            ("evictions", "Connections ended for a newer one on another gateway.", &figures.evictions),
            ("overflows", "Connections ended because too much waited for NATS.", &figures.overflows),
            ("commands", "Commands sent to agents.", &figures.commands),
            ("commands_refused", "Commands refused by the gateway.", &figures.refused_commands),
            (
                "turned_away",
                "Requests refused while NATS was away or the gateway ended.",
                &figures.turned_away,
            ),
            ("unauthorized", "Requests without a valid token or certificate.", &figures.unauthorized),
            ("no_room", "Connections dropped because there were too many.", &figures.no_room),
        ];
        for (name, help, count) in counters {
            self.counter(name, help, count);
        }
        self.acknowledgements(figures);
    }

    fn acknowledgements(&mut self, figures: &Figures) {
        let name = "nixfleet_gateway_store_seconds";
        self.family(name, "histogram", "How long NATS took to store a message.");
        let bounds = ACK_MS.iter().map(|&ms| (ms as f64 / 1000.0).to_string()).chain(["+Inf".to_owned()]);
        let mut all = 0;
        for (bound, count) in bounds.zip(figures.acknowledgements.classes()) {
            all += count;
            self.line(&format!("{name}_bucket"), &format!("{{le=\"{bound}\"}}"), all);
        }
        self.line(&format!("{name}_sum"), "", figures.acknowledgements.sum());
        self.line(&format!("{name}_count"), "", all);
    }
}

#[cfg(test)]
mod tests {
    use super::Text;
    use crate::figures::Figures;

    const PAGE: &str = include_str!("../../../docs/gateway.md");

    #[test]
    fn the_page_explains_every_figure() {
        let mut text = Text::default();
        text.figures(&Figures::default());
        let names = text.0.lines().filter_map(|line| line.strip_prefix("# TYPE nixfleet_gateway_"));
        let names: Vec<_> = names.filter_map(|rest| rest.split(' ').next()).collect();
        assert!(names.len() > 10, "{names:?}");
        for name in names {
            assert!(PAGE.contains(&format!("`{name}`")), "{name}");
        }
    }

    #[test]
    fn classes_of_a_histogram_add_up() {
        let figures = Figures::default();
        for ms in [0, 3, 3, 60_000] {
            figures.acknowledgements.note(std::time::Duration::from_millis(ms));
        }
        let mut text = Text::default();
        text.acknowledgements(&figures);
        for line in [
            "nixfleet_gateway_store_seconds_bucket{le=\"0.001\"} 1",
            "nixfleet_gateway_store_seconds_bucket{le=\"0.005\"} 3",
            "nixfleet_gateway_store_seconds_bucket{le=\"5\"} 3",
            "nixfleet_gateway_store_seconds_bucket{le=\"+Inf\"} 4",
            "nixfleet_gateway_store_seconds_sum 60.006",
            "nixfleet_gateway_store_seconds_count 4",
        ] {
            assert!(text.0.lines().any(|said| said == line), "{line} in\n{}", text.0);
        }
    }
}
