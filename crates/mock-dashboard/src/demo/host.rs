//! Replaces StaSysMo: writes real readings of this machine in the format of StaSysMo's files.

use std::path::PathBuf;
use std::time::Duration;

/// Time between two readings, the heartbeat interval of the demo.
const INTERVAL: Duration = Duration::from_secs(1);

/// Writes readings until it is aborted.
#[cfg(target_os = "linux")]
pub(super) async fn keep_readings(folder: PathBuf) {
    let mut before = None;
    let mut ticks = tokio::time::interval(INTERVAL);
    loop {
        ticks.tick().await;
        let now = busy_and_total();
        if let (Some(before), Some(now)) = (before, now)
            && let Some(written) = readings(before, now).map(|values| write(&folder, values))
            && let Err(err) = written
        {
            tracing::debug!("Cannot write the readings: {err}");
        }
        before = now;
    }
}

/// Without /proc there are no readings, and the dashboard shows that.
#[cfg(not(target_os = "linux"))]
pub(super) async fn keep_readings(_folder: PathBuf) {
    std::future::pending::<()>().await;
    let _ = INTERVAL;
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
        ("swap", percent(memory.swap_total - memory.swap_free, memory.swap_total)),
        ("load", f64::from(load.one)),
    ])
}

#[cfg(target_os = "linux")]
fn write(folder: &std::path::Path, values: [(&str, f64); 4]) -> std::io::Result<()> {
    std::fs::create_dir_all(folder)?;
    for (name, value) in values {
        let temporary = folder.join(format!("{name}.tmp"));
        std::fs::write(&temporary, format!("{value:.1}\n"))?;
        std::fs::rename(temporary, folder.join(name))?;
    }
    std::fs::write(folder.join("timestamp"), jiff::Timestamp::now().as_second().to_string())
}
