//! The last hour of a host, for plots.

use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use crate::figures::Figures;
use crate::history::{History, Plot, points_for};
use crate::moment::Moment;

use super::client::{LIMIT, Running, beat};

/// As many points as a host may have that is alone.
const ALL: usize = usize::MAX;

/// A history, and the begin of its time.
struct World {
    history: History,
    begun: Instant,
}

impl World {
    fn new() -> Self {
        let begun = Instant::now();
        Self { history: History::new(begun), begun }
    }

    fn at(&self, millis: u64) -> Moment {
        let unix_ms = 1_000_000_000 + i64::try_from(millis).expect("a time");
        Moment { now: self.begun + Duration::from_millis(millis), unix_ms }
    }

    fn beat(&mut self, millis: u64, connection: u64, interval: u64, cpu: f64) {
        let figures =
            Figures { cpu: Some(cpu), gpu_temp: Some(cpu * 100.0), rtt_ms: Some(cpu), ..Figures::default() };
        let now = self.at(millis).now;
        self.history.beat(now, connection, interval, &figures, ALL);
    }

    fn plot(&self, millis: u64) -> Plot {
        self.history.plot(self.at(millis), ALL)
    }
}

#[test]
fn a_point_is_the_mean_of_shares_and_the_highest_of_the_rest() {
    let mut world = World::new();
    world.beat(0, 1, 1, 0.2);
    world.beat(1_000, 1, 1, 0.4);
    world.beat(2_500, 1, 1, 0.9);
    // A beat that knows nothing changes nothing.
    world.history.beat(world.at(2_600).now, 1, 1, &Figures::default(), ALL);
    world.beat(30_000, 1, 1, 0.1);
    let plot = world.plot(49_999);
    assert_eq!((plot.step_s, plot.start), (10, 1_000_000));
    let series = plot.series;
    assert_eq!(series.cpu, [Some(0.5), None, None, Some(0.1), None], "up to now, which is in the fifth step");
    assert_eq!(series.gpu_temp, [Some(90.0), None, None, Some(10.0), None]);
    assert_eq!(series.rtt_ms, [Some(0.9), None, None, Some(0.1), None]);
    assert_eq!(series.late_ms, [Some(500.0), None, None, Some(26_400.0), None]);
    assert_eq!(series.memory, [None; 5]);
}

#[test]
fn the_first_beat_of_a_connection_is_never_late_and_an_early_one_neither() {
    let mut world = World::new();
    world.beat(0, 1, 10, 0.0);
    world.beat(60_000, 2, 10, 0.0);
    world.beat(65_000, 2, 10, 0.0);
    world.beat(75_250, 2, 10, 0.0);
    assert_eq!(
        world.plot(75_250).series.late_ms,
        [None, None, None, None, None, None, Some(0.0), Some(250.0)]
    );
}

#[test]
fn an_hour_is_kept_and_no_more() {
    let mut world = World::new();
    for second in 0..4_000 {
        world.beat(second * 1_000, 1, 1, 0.5);
    }
    let plot = world.plot(3_999_000);
    assert_eq!((plot.series.cpu.len(), plot.start), (360, 1_000_000 + 400));
    assert_eq!(plot.series.cpu, [Some(0.5); 360]);
    let plot = world.plot(3_999_000 + 1_800_000);
    let known = plot.series.cpu.iter().flatten().count();
    assert_eq!((plot.series.cpu.len(), known), (360, 180), "half an hour of silence");
    assert_eq!(world.plot(20_000_000).series.cpu, [None; 360]);
    world.beat(20_000_000, 1, 1, 0.5);
    assert_eq!(world.plot(20_000_000).series.cpu, [Some(0.5)], "nothing is kept for a gap of hours");
}

#[test]
fn a_host_that_beats_less_often_has_longer_steps_also_from_now_on() {
    let mut world = World::new();
    world.beat(0, 1, 10, 0.2);
    world.beat(10_000, 1, 10, 0.4);
    world.beat(20_000, 1, 10, 0.6);
    world.beat(30_000, 1, 30, 0.9);
    let plot = world.plot(30_000);
    assert_eq!((plot.step_s, plot.start), (30, 1_000_000));
    assert_eq!(plot.series.cpu, [Some(0.4), Some(0.9)], "three points became one");
    world.beat(61_000, 1, 10, 0.1);
    let plot = world.plot(61_000);
    assert_eq!(plot.step_s, 10);
    let known: Vec<_> = plot.series.cpu.iter().flatten().copied().collect();
    assert_eq!((plot.series.cpu.len(), known), (7, vec![0.4, 0.9, 0.1]));
    world.beat(70_000, 1, 86_400, 0.1);
    assert_eq!((world.plot(70_000).step_s, world.plot(70_000).series.cpu.len()), (86_400, 1));
}

#[test]
fn the_histories_of_all_hosts_have_a_bound() {
    let hour = 360;
    assert!(points_for(1_500) >= hour && points_for(10_000) < hour);
    for hosts in [1, 1_500, 10_000, 1_000_000_000] {
        let points = points_for(hosts).min(hour);
        assert!(hosts > 1_000_000 || points * hosts * 7 * 4 <= 16 * 1024 * 1024, "{hosts} hosts");
        let begun = Instant::now();
        let mut history = History::new(begun);
        for step in 0..1_000 {
            let now = begun + Duration::from_secs(step * 10);
            history.beat(now, 1, 10, &Figures::default(), points_for(hosts));
        }
        assert_eq!(history.room_used(), (points, points), "what is used, and what is reserved");
        history.beat(begun + Duration::from_secs(10_000), 1, 10, &Figures::default(), 10);
        let (used, reserved) = history.room_used();
        assert!(used <= 10 && reserved <= 20, "{used} and {reserved}: others have come");
    }
}

#[tokio::test]
async fn the_history_is_there_over_http() {
    let dashboard = Running::start().await;
    let mut agent = dashboard.agent("web").await;
    agent.send(&beat(None)).await;
    dashboard
        .handle
        .wait_until("two beats", LIMIT, |handle| (handle.next_index("web") == 3).then_some(()))
        .await;
    let (code, plot) = dashboard.get("/api/hosts/web/history").await;
    assert_eq!((code, &plot["step_s"]), (200, &json!(30)), "the interval of this agent");
    assert!(plot["start"].is_i64() && plot["series"]["late_ms"].is_array(), "{plot}");
    assert_eq!(dashboard.get("/api/hosts/nobody/history").await.0, 404);
    let mut silent = dashboard.silent_agent().await;
    silent.register("silent").await;
    silent.next().await;
    let (code, plot) = dashboard.get("/api/hosts/silent/history").await;
    assert_eq!(
        (code, &plot["step_s"], &plot["series"]["cpu"]),
        (200, &json!(10), &json!([])),
        "no heartbeat has come"
    );
    dashboard.stop().await;
}
