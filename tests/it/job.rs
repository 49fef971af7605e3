//! The supervisor (`exec-job`) alone, started as a launcher does.

use std::fs;
use std::process::Output;

use nixfleet_jobs::JobId;

use crate::rig::program;

fn exec_job(folder: &std::path::Path, instance: &str) -> Output {
    let config = folder.join("agent.toml");
    fs::write(&config, "[commands.hello]\nrun = [\"touch\", \"ran\"]\n").unwrap();
    program()
        .arg("--config")
        .arg(config)
        .args(["exec-job", "--", instance])
        .env("NIXFLEET_STATE_DIR", folder.join("state"))
        .current_dir(folder)
        .output()
        .unwrap()
}

#[test]
fn a_hostile_instance_name_starts_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let id = JobId::generate();
    let long = format!("{}-{id}", "a".repeat(4096));
    let hostile = [
        format!("../x-{id}"),
        format!("hello world-{id}"),
        format!("%i-{id}"),
        format!("hello-{}", id.as_str().to_uppercase()),
        format!("hello-../../{id}"),
        format!("-{id}"),
        format!("--help-{id}"),
        "hello".to_owned(),
        String::new(),
        long,
    ];
    for instance in &hostile {
        let output = exec_job(folder.path(), instance);
        assert_eq!(output.status.code(), Some(64), "{instance}: {output:?}");
        assert!(!folder.path().join("state").exists(), "{instance} left something behind");
    }
    let unknown = exec_job(folder.path(), &format!("no-such-{id}"));
    assert!(unknown.status.success(), "{unknown:?}");
    assert!(!folder.path().join("ran").exists());
    let result =
        fs::read_to_string(folder.path().join("state/jobs").join(id.as_str()).join("result.json")).unwrap();
    assert!(result.contains("unknown command"), "{result}");
    let good = exec_job(folder.path(), &format!("hello-{}", JobId::generate()));
    assert!(good.status.success() && folder.path().join("ran").exists(), "{good:?}");
}

#[test]
fn a_job_id_is_used_once() {
    let folder = tempfile::tempdir().unwrap();
    let instance = format!("hello-{}", JobId::generate());
    assert!(exec_job(folder.path(), &instance).status.success());
    let again = exec_job(folder.path(), &instance);
    assert_eq!(again.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&again.stderr).contains("File exists"), "{again:?}");
}

#[test]
fn a_result_that_cannot_be_written_is_an_error_of_the_supervisor() {
    let folder = tempfile::tempdir().unwrap();
    let (id, config) = (JobId::generate(), folder.path().join("agent.toml"));
    // A folder that is not empty cannot be replaced.
    let block = format!("[commands.block]\nrun = [\"mkdir\", \"-p\", \"state/jobs/{id}/result.json/x\"]\n");
    fs::write(&config, block).unwrap();
    let mut command = program();
    command.arg("--config").arg(config).args(["exec-job", "--", &format!("block-{id}")]);
    command.env("NIXFLEET_STATE_DIR", folder.path().join("state")).current_dir(folder.path());
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.starts_with("nixfleet-agent: cannot write ") && text.contains("result.json, so "), "{text}");
}

#[test]
fn old_job_folders_are_removed() {
    let folder = tempfile::tempdir().unwrap();
    for _ in 0..25 {
        assert!(exec_job(folder.path(), &format!("hello-{}", JobId::generate())).status.success());
    }
    let jobs = fs::read_dir(folder.path().join("state/jobs")).unwrap();
    assert_eq!(jobs.flatten().filter(|item| item.path().is_dir()).count(), 20);
}
