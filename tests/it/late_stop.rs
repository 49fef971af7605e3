//! A stop in the half second in which the output of an ended program is still read.

use std::fs;
use std::path::Path;

use nixfleet_jobs::JobId;

use crate::rig::{json, lives, program};

/// A program that ends with this exit code. What it leaves behind orders a stop as soon as the supervisor has reaped
/// the program, and holds its output open.
fn script(exit_code: i32) -> String {
    format!(
        "supervisor=$PPID; own=$$\n\
         (while [ -e /proc/$own ]; do sleep 0.01; done; kill -INT $supervisor; echo $supervisor > sent; \
         exec sleep 300) &\necho $! > left\nexit {exit_code}\n"
    )
}

/// Runs a command of these steps to its end; its result.
fn run(folder: &Path, steps: &str) -> serde_json::Value {
    let (config, id) = (folder.join("agent.toml"), JobId::generate());
    fs::write(&config, format!("[commands.work]\nsteps = {steps}\n")).unwrap();
    let mut command = program();
    command.arg("--config").arg(config).args(["exec-job", "--", &format!("work-{id}")]);
    command.env("NIXFLEET_STATE_DIR", folder.join("state")).current_dir(folder);
    assert!(command.output().unwrap().status.success());
    json(&folder.join("state/jobs").join(id.as_str()).join("result.json")).unwrap()
}

#[test]
fn the_first_end_counts_and_what_is_left_is_ended() {
    for (exit_code, more, outcome) in [
        (0, "", "ok"),
        (3, "", "failed"),
        (0, ", [\"touch\", \"more\"]", "stopped"),
        (3, ", [\"touch\", \"more\"]", "failed"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("script"), script(exit_code)).unwrap();
        let result = run(folder.path(), &format!("[[\"sh\", \"script\"]{more}]"));
        assert_eq!(result["outcome"], outcome, "{exit_code}{more}: {result}");
        assert!(folder.path().join("sent").exists(), "the stop came before the end of the job: {result}");
        let left = fs::read_to_string(folder.path().join("left")).unwrap().trim().parse().unwrap();
        assert!(!lives(left), "what is left is ended");
        assert!(!folder.path().join("more").exists());
    }
}
