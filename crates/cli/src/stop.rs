//! `nixfleet stop`

use async_nats::{Client, jetstream};

use crate::args::Stop;
use crate::campaign;
use crate::chosen::{choose, confirm, names, patterns};
use crate::exit::{Exit, Failure};
use crate::fleet_view::Fleet;
use crate::order::{Order, What};
use crate::plan::waves;
use crate::report::Report;
use crate::terminal::Screen;

pub(crate) async fn run(client: &Client, options: &Stop, screen: &mut Screen) -> Result<Exit, Failure> {
    let patterns = patterns(&options.which)?;
    let fleet = Fleet::read(&jetstream::new(client.clone()), names(&patterns).as_deref()).await?;
    let online = options.which.online;
    let chosen = choose(&patterns, &fleet, |host| !online || host.standing().online);
    confirm(if options.kill { "kill what runs" } else { "stop what runs" }, &chosen, &options.which)?;
    let order = Order {
        what: if options.kill { What::Kill } else { What::Stop },
        lines: true,
        wait: true,
        timeout: options.timeout,
        waves: waves(chosen.hosts.len(), None, &[]),
        stop_on_failure: false,
        pause: std::time::Duration::ZERO,
    };
    let mut report = Report::new(screen, options.json, order.wait, &chosen.hosts);
    campaign::run(client, &order, &chosen, &mut report).await
}
