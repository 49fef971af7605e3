//! Blocks of settings and of Nix.

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

use crate::page::{Page, pages};
use crate::skipped::skipped;

/// Files that the documents name as examples, which the check looks at.
const NAMED: [&str; 3] =
    ["/etc/ssl/fleet-ca.pem", "/run/secrets/nixfleet-token", "/home/alice/.config/nixfleet/token"];

/// `check-config` knows each key, and has nothing against the values.
#[test]
fn every_block_of_settings_passes_check_config() {
    let folder = tempfile::tempdir().unwrap();
    let authority = rcgen::generate_simple_self_signed(["fleet".to_owned()]).unwrap().cert.pem();
    let mut count = 0;
    // Those of other programs are read by their own tests.
    let others =
        ["# /etc/nixfleet/gateway.toml", "# /etc/nixfleet/dashboard.toml", "# ~/.config/nixfleet/cli.toml"];
    let is_agents = |text: &str| !others.iter().any(|other| text.starts_with(other));
    let blocks = pages();
    let blocks = blocks.iter().flat_map(Page::blocks).filter(|block| block.language == "toml");
    for block in blocks.filter(|block| is_agents(&block.text)) {
        count += 1;
        let mut text = block.text.clone();
        for (number, name) in NAMED.iter().enumerate() {
            let file = folder.path().join(number.to_string());
            fs::write(&file, if number == 0 { &authority } else { "a-token" }).unwrap();
            text = text.replace(name, file.to_str().unwrap());
        }
        // A part of a file needs the rest.
        if !text.starts_with("url") && !text.contains("\nurl =") {
            text = format!("url = \"wss://fleet.example.org/ws\"\n{text}");
        }
        let file = folder.path().join("agent.toml");
        fs::write(&file, &text).unwrap();
        let mut agent = Command::new(env!("CARGO_BIN_EXE_nixfleet-agent"));
        agent.args(["check-config", "--config"]).arg(&file).env_clear();
        if !text.contains("token_file") {
            agent.env("NIXFLEET_TOKEN", "a-token");
        }
        let output = agent.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{}: {said}{text}", block.place);
        assert!(!said.contains("ignored"), "{}: {said}", block.place);
    }
    assert!(count >= 4, "where are the blocks?");
}

/// What nix says against this text, if it cannot parse it.
fn nix_refuses(text: &str) -> Option<String> {
    let mut nix = Command::new("nix-instantiate");
    nix.args(["--parse", "-"]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut nix = nix.spawn().unwrap();
    nix.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = nix.wait_with_output().unwrap();
    (!output.status.success()).then(|| String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn every_block_of_nix_can_be_parsed() {
    if Command::new("nix-instantiate").arg("--version").output().is_err() {
        return skipped("the syntax of Nix in the documents: nix-instantiate is not installed");
    }
    for block in pages().iter().flat_map(Page::blocks).filter(|block| block.language == "nix") {
        // Names may be those of a file around it, and a block may be some lines of a set.
        if let Some(said) = nix_refuses(&format!("with {{ }}; {}", block.text))
            && nix_refuses(&format!("with {{ }}; {{ {} }}", block.text)).is_some()
        {
            panic!("{}: {said}{}", block.place, block.text);
        }
    }
}
