//! What the demo keeps up to date while it runs: real readings of this machine in the format of StaSysMo's files, and
//! the GPUs.

use std::path::PathBuf;
use std::time::Duration;

use super::files::replace;
use super::gpus::Gpus;

/// Time between two readings, the heartbeat interval of the demo.
const INTERVAL: Duration = Duration::from_secs(1);

/// Writes StaSysMo's readings into these folders, and what these GPUs do, until it is aborted.
pub(super) async fn keep(folders: Vec<PathBuf>, mut gpus: Vec<Gpus>) {
    let mut before = None;
    let begun = tokio::time::Instant::now();
    let mut ticks = tokio::time::interval(INTERVAL);
    loop {
        let seconds = (ticks.tick().await - begun).as_secs_f64();
        let now = busy_and_total();
        let values = before.zip(now).and_then(|(before, now)| readings(before, now));
        let written = values.map_or(Ok(()), |values| folders.iter().try_for_each(|to| write(to, values)));
        let written = written.and_then(|()| gpus.iter_mut().try_for_each(|gpu| gpu.write(seconds)));
        if let Err(err) = written {
            tracing::debug!("Cannot write the readings: {err}");
        }
        before = now;
    }
}

/// Without /proc there are no readings, and the dashboard shows that.
#[cfg(not(target_os = "linux"))]
fn busy_and_total() -> Option<(u64, u64)> {
    None
}

#[cfg(not(target_os = "linux"))]
fn readings(_before: (u64, u64), _now: (u64, u64)) -> Option<[(&'static str, f64); 4]> {
    None
}

#[cfg(target_os = "linux")]
fn busy_and_total() -> Option<(u64, u64)> {
    use procfs::CurrentSI;

    let cpu = procfs::KernelStats::current().ok()?.total;
    let idle = cpu.idle + cpu.iowait.unwrap_or(0);
    let busy = cpu.user + cpu.nice + cpu.system + cpu.irq.unwrap_or(0) + cpu.softirq.unwrap_or(0);
    Some((busy, busy + idle))
}

#[cfg(target_os = "linux")]
fn readings(before: (u64, u64), now: (u64, u64)) -> Option<[(&'static str, f64); 4]> {
    use procfs::Current;

    let memory = procfs::Meminfo::current().ok()?;
    let load = procfs::LoadAverage::current().ok()?;
    let percent = |part: u64, whole: u64| if whole == 0 { 0.0 } else { part as f64 / whole as f64 * 100.0 };
    let used = memory.mem_total.saturating_sub(memory.mem_available.unwrap_or(memory.mem_free));
    Some([
        ("cpu", percent(now.0.saturating_sub(before.0), now.1.saturating_sub(before.1))),
        ("ram", percent(used, memory.mem_total)),
        ("swap", percent(memory.swap_total.saturating_sub(memory.swap_free), memory.swap_total)),
        ("load", f64::from(load.one)),
    ])
}

fn write(folder: &std::path::Path, values: [(&str, f64); 4]) -> std::io::Result<()> {
    std::fs::create_dir_all(folder)?;
    for (name, value) in values {
        replace(&folder.join(name), &format!("{value:.1}\n"))?;
    }
    replace(&folder.join("timestamp"), &jiff::Timestamp::now().as_second().to_string())
}
