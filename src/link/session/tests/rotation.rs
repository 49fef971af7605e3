//! A connection that is closed because what proves who this host is was replaced.

use super::requests::{SECOND, launched};
use super::rig::{Order, Rig};
use crate::link::ended::Ended;
use crate::link::rotation::told::Asker;

/// A live session, and who replaces its token.
async fn live() -> (Rig, Asker) {
    let mut rig = Rig::start(SECOND).await;
    let asker = rig.rotated_by().await;
    rig.accept_registration(&[]).await;
    rig.heartbeat().await;
    (rig, asker)
}

/// The connection is being closed.
async fn leaving() -> Rig {
    let (mut rig, asker) = live().await;
    asker.replace("token");
    for _ in 0..20 {
        rig.yield_now().await;
    }
    rig
}

fn launches(orders: Vec<Order>) -> usize {
    orders.into_iter().filter(|order| matches!(order, Order::Launch(_))).count()
}

#[tokio::test(start_paused = true)]
async fn a_command_that_comes_while_the_connection_is_closed_runs_on_the_next_one() {
    let mut rig = leaving().await;
    rig.command("switch", Some("c1")).await;
    rig.command("pull", Some("c2")).await;
    assert_eq!(rig.close_frame().await, (1000, "renewed".to_owned()));
    assert!(matches!(rig.ended().await, Ended::Rotated));
    assert_eq!(launches(rig.orders()), 0);

    rig.reconnect().await;
    rig.accept_registration(&[]).await;
    assert_eq!(launched(&mut rig).await.command, "switch");
    // The other one gets its answer, too.
    let nixfleet_protocol::AgentMessage::CommandRejected(rejected) = rig.next_but_heartbeats().await else {
        panic!("no rejection")
    };
    assert_eq!(rejected.command.as_deref(), Some("pull"));
}

#[tokio::test(start_paused = true)]
async fn a_command_is_too_old_when_the_next_connection_comes_late() {
    let mut rig = leaving().await;
    rig.command("switch", Some("c1")).await;
    rig.close_frame().await;
    rig.ended().await;
    tokio::time::sleep(60 * SECOND).await;
    rig.reconnect().await;
    rig.accept_registration(&[]).await;
    rig.heartbeat().await;
    rig.heartbeat().await;
    assert_eq!(launches(rig.orders()), 0);
}
