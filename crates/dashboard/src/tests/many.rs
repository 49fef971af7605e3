//! One command for many hosts.

use serde_json::{Value, json};
use tokio::time::Instant;

use super::client::{CSRF, LIMIT, Running, beat, rejection};

#[tokio::test]
async fn a_command_for_many_hosts_has_an_answer_of_each() {
    let dashboard = Running::start().await;
    let mut takes = dashboard.agent("takes").await;
    let mut refuses = dashboard.agent("refuses").await;
    let mut silent = dashboard.agent("silent").await;
    let lost = dashboard.agent("lost").await;
    let mut never = dashboard.silent_agent().await;
    never.register("never").await;
    never.next().await;
    drop(lost);
    let gone = |handle: &crate::Handle| handle.host("lost").filter(|host| !host.connected);
    dashboard.handle.wait_until("end of the connection", LIMIT, gone).await;

    let body = json!({
        "command": "pull",
        "hosts": ["takes", "nobody", "refuses", "lost", "never", "silent", "takes"],
    });
    let begun = Instant::now();
    let asked = async { dashboard.post("/api/commands", &body.to_string()).await };
    let answers = async {
        // The last one that is asked answers first: nobody waits for another's verdict.
        assert_eq!(silent.command().await.command, "pull");
        let command = refuses.command().await;
        refuses.send(&rejection(&command)).await;
        assert_eq!(takes.command().await.command, "pull");
        takes.send(&beat(Some("pull"))).await;
    };
    let ((code, answer), ()) = tokio::join!(asked, answers);
    let took = begun.elapsed().as_millis();
    assert!((1_900..3_500).contains(&took), "one limit for all, not {took} ms");
    assert_eq!(code, 200);
    let results = answer["results"].as_array().unwrap();
    let shown: Vec<(&str, &str)> = results
        .iter()
        .map(|result| (result["host"].as_str().unwrap(), result["status"].as_str().unwrap()))
        .collect();
    let wanted = [
        ("takes", "accepted"),
        ("nobody", "unknown"),
        ("refuses", "rejected"),
        ("lost", "not_connected"),
        ("never", "offline"),
        ("silent", "accepted"),
    ];
    assert_eq!(shown, wanted, "each host once");
    assert_eq!(
        (&results[0]["confirmed_by"], &results[5]["confirmed_by"]),
        (&json!("heartbeat"), &Value::Null)
    );
    let refused = &results[2];
    assert_eq!(
        (&refused["error"], &refused["current_pid"]),
        (&json!("command already running"), &json!(12345))
    );
    assert!(refused["id"].is_string() && results[0]["id"] != refused["id"], "each has an id of its own");
    assert_eq!((&results[1]["error"], &results[1]["id"]), (&json!("unknown host"), &Value::Null));
    dashboard.stop().await;
}

#[tokio::test]
async fn many_hosts_need_the_csrf_token_and_have_bounds() {
    let dashboard = Running::start().await;
    let path = "/api/commands";
    assert_eq!(dashboard.http("POST", path, None, r#"{"command":"pull","hosts":["a"]}"#).await.0, 403);
    let names = |count: usize| (0..count).map(|number| format!("h{number}")).collect::<Vec<_>>();
    for (command, hosts, code) in [
        ("pull", names(0), 400),
        ("", names(1), 400),
        (&*"x".repeat(2049), names(1), 400),
        ("pull", names(5_001), 400),
        ("pull", names(5_000), 200),
    ] {
        let body = json!({ "command": command, "hosts": hosts }).to_string();
        let (got, answer) = dashboard.http("POST", path, Some(CSRF), &body).await;
        assert_eq!(got, code, "{} hosts: {answer}", hosts.len());
    }
    dashboard.stop().await;
}
