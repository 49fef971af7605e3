//! Agent, supervisor and guard are killed, also together, and the machine is reset.

use super::*;

#[tokio::test]
async fn an_agent_that_never_comes_back_does_not_keep_the_system_before_from_coming_back() {
    let fleet = fleet(5, "").await;
    let mut agent = fleet.agent().await;
    activating(&fleet).await;
    agent.kill();
    unset(&fleet, "hold");
    let folder = job_folder(&fleet);
    eventually("the result", || folder.join("result.json").exists().then_some(())).await;
    let _next = fleet.spawn_agent();
    let status = fleet.ended("switch").await;
    assert_rolled_back(&fleet, &status, "the agent did not try to connect anew");
}

/// Waits until the log has that many lines with this beginning.
async fn noted(fleet: &Fleet, beginning: &str, times: usize) {
    let found = || journal(fleet).iter().filter(|(_, text)| text.starts_with(beginning)).count();
    eventually(beginning, || (found() == times).then_some(())).await;
}

#[tokio::test]
async fn a_guard_that_is_killed_is_replaced_and_a_third_time_by_the_supervisor() {
    let fleet = fleet(60, "").await;
    let _agent = fleet.agent().await;
    activating(&fleet).await;
    cut_off(&fleet, true);
    kill(guard(&fleet).await);
    unset(&fleet, "hold");
    confirming(&fleet).await;
    for times in 1..=3 {
        noted(&fleet, "the guard of the new system is gone", times).await;
        if times < 3 {
            // One that is killed before its start was noticed is not replaced by another process.
            noted(&fleet, "the new system has a guard again", times).await;
            kill(guard(&fleet).await);
        }
    }
    noted(&fleet, "the supervisor of this command guards the new system now", 1).await;
    assert_eq!(link(&fleet, "current"), "two");
    cut_off(&fleet, false);
    let status = fleet.ended("switch").await;
    assert_eq!(status.outcome.as_deref(), Some("ok"), "{status:?}");
    assert_eq!(link(&fleet, PROFILE), "two");
}

#[tokio::test]
async fn a_supervisor_that_is_killed_while_it_waits_leaves_the_decision_to_the_guard() {
    for (cut, timeout) in [(false, 30), (true, 6)] {
        let fleet = fleet(timeout, "").await;
        let _agent = fleet.agent().await;
        activating(&fleet).await;
        cut_off(&fleet, true);
        unset(&fleet, "hold");
        confirming(&fleet).await;
        kill(supervisor(&fleet));
        cut_off(&fleet, cut);
        let decided = eventually("a decision", || {
            json(&job_folder(&fleet).join("guard.json"))?["decision"]["kind"].as_str().map(str::to_owned)
        });
        assert_eq!(decided.await, if cut { "rolled_back" } else { "confirmed" });
        cut_off(&fleet, false);
        let status = fleet.ended("switch").await;
        if cut {
            assert_rolled_back(&fleet, &status, "it was not confirmed within 6 s");
        } else {
            assert_eq!((status.exit_code, status.outcome.as_deref()), (0, Some("ok")), "{status:?}");
            assert_eq!(link(&fleet, PROFILE), "two");
        }
    }
}

#[tokio::test]
async fn a_supervisor_that_is_killed_during_the_activation_takes_the_new_system_back() {
    let fleet = fleet(600, "").await;
    let _agent = fleet.agent().await;
    activating(&fleet).await;
    kill(supervisor(&fleet));
    unset(&fleet, "hold");
    let status = fleet.ended("switch").await;
    assert_rolled_back(&fleet, &status, "the supervisor of the command was killed during the activation");
}

#[tokio::test]
async fn agent_and_supervisor_are_killed_and_the_next_agent_tells_what_the_guard_did() {
    let fleet = fleet(5, "").await;
    let mut agent = fleet.agent().await;
    activating(&fleet).await;
    agent.kill();
    unset(&fleet, "hold");
    confirming(&fleet).await;
    kill(supervisor(&fleet));
    let _next = fleet.spawn_agent();
    cut_off(&fleet, true);
    eventually("the way back", || (link(&fleet, "current") == "one").then_some(())).await;
    cut_off(&fleet, false);
    assert_eq!(fleet.ended("switch").await.outcome.as_deref(), Some("rolled_back"));
}

#[tokio::test]
async fn when_supervisor_and_guard_are_killed_nobody_claims_to_know() {
    let fleet = fleet(60, "").await;
    let _agent = fleet.agent().await;
    activating(&fleet).await;
    cut_off(&fleet, true);
    unset(&fleet, "hold");
    confirming(&fleet).await;
    let guard = guard(&fleet).await;
    kill(supervisor(&fleet));
    kill(guard);
    cut_off(&fleet, false);
    let status = fleet.ended("switch").await;
    assert_eq!(status.outcome.as_deref(), Some("lost"), "{status:?}");
    assert!(status.message.contains("nobody decides about it"), "{status:?}");
    assert_eq!((link(&fleet, "current").as_str(), link(&fleet, PROFILE).as_str()), ("two", "one"));
}

#[tokio::test]
async fn a_reset_before_the_confirmation_is_told_as_the_way_back_that_it_was() {
    let fleet = fleet(600, "").await;
    let mut agent = fleet.agent().await;
    activating(&fleet).await;
    cut_off(&fleet, true);
    unset(&fleet, "hold");
    confirming(&fleet).await;
    // What a reset leaves: no process, another boot, and the system of the profile.
    let guard = guard(&fleet).await;
    agent.kill();
    kill(supervisor(&fleet));
    kill(guard);
    for name in ["spec.json", "trial.json"] {
        let path = job_folder(&fleet).join(name);
        let mut file = json(&path).unwrap();
        file["boot_id"] = "another boot".into();
        fs::write(path, file.to_string()).unwrap();
    }
    unset(&fleet, "current");
    symlink(fleet.path("one"), fleet.path("current")).unwrap();
    cut_off(&fleet, false);
    let _next = fleet.spawn_agent();
    let status = fleet.ended("switch").await;
    assert_eq!(status.outcome.as_deref(), Some("rolled_back"), "{status:?}");
    let why = "the machine restarted before the new system was confirmed, and booted the one before it";
    assert!(status.message.contains(why), "{status:?}");
}

#[tokio::test]
async fn nobody_stops_a_system_on_trial_half_way() {
    let fleet = fleet(30, "").await;
    let _agent = fleet.agent().await;
    activating(&fleet).await;
    cut_off(&fleet, true);
    unset(&fleet, "hold");
    confirming(&fleet).await;
    guard(&fleet).await;
    for urgency in [Urgency::Stop, Urgency::Kill] {
        signal_supervisor(&job(&fleet), urgency).unwrap();
    }
    kill_process(supervisor(&fleet), Signal::TERM).unwrap();
    eventually("a refusal", || {
        journal(&fleet).iter().any(|(_, text)| text.starts_with("stop refused")).then_some(())
    })
    .await;
    cut_off(&fleet, false);
    let status = fleet.ended("switch").await;
    assert_eq!(status.outcome.as_deref(), Some("ok"), "{status:?}");
    // A kill ends all processes of the command, and the guard is none.
    let texts: Vec<String> = journal(&fleet).into_iter().map(|(_, text)| text).collect();
    assert!(!texts.iter().any(|text| text.starts_with("the guard of the new system is gone")), "{texts:?}");
}
