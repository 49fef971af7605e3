//! The extension for Avocado OS: its file has what Avocado reads, and names what is there.

use std::collections::BTreeMap;
use std::fs;

use crate::page::{page, repository};

/// The values of a YAML file by their paths, such as `sdk.image`; a list has several. It knows mappings, lists of words
/// and comments, and nothing else of YAML.
fn values(text: &str) -> BTreeMap<String, Vec<String>> {
    let mut values: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut path: Vec<(usize, String)> = Vec::new();
    for line in text.lines().filter(|line| !line.trim().is_empty() && !line.trim_start().starts_with('#')) {
        let depth = line.len() - line.trim_start().len();
        path.retain(|(outer, _)| *outer < depth);
        let (key, value) = match line.trim().strip_prefix("- ") {
            Some(item) => (None, item),
            None => line.trim().split_once(':').map(|(key, value)| (Some(key), value.trim())).unwrap(),
        };
        path.extend(key.map(|key| (depth, key.to_owned())));
        let name = path.iter().map(|(_, key)| key.as_str()).collect::<Vec<_>>().join(".");
        let list = values.entry(name).or_default();
        if !value.is_empty() {
            list.push(value.trim_matches('"').to_owned());
        }
    }
    values
}

fn file() -> BTreeMap<String, Vec<String>> {
    values(&fs::read_to_string(repository("dist/avocado/avocado.yaml")).unwrap())
}

#[test]
fn the_file_has_a_runtime_an_extension_and_the_sdk() {
    let file = file();
    for (path, wanted) in [
        ("default_target", "qemux86-64"),
        ("runtimes.dev.packages.avocado-runtime", "*"),
        ("runtimes.dev.extensions", "config"),
        ("runtimes.dev.extensions", "heartbeat"),
        ("extensions.config.types", "confext"),
        ("extensions.heartbeat.types", "sysext"),
        ("extensions.heartbeat.types", "confext"),
        ("extensions.heartbeat.overlay", "heartbeat/overlay"),
        ("extensions.heartbeat.enable_services", "nixfleet-heartbeat.service"),
        ("sdk.packages.avocado-sdk-toolchain", "*"),
    ] {
        assert!(file.get(path).is_some_and(|values| values.iter().any(|value| value == wanted)), "{path}");
    }
    assert!(file["sdk.image"][0].starts_with("docker.io/avocadolinux/sdk:"));
    for extension in &file["runtimes.dev.extensions"] {
        assert!(
            file.contains_key(&format!("extensions.{extension}")),
            "the extension {extension} is missing"
        );
    }
}

/// Avocado splits a command at blanks, and waits for it, also while the device boots.
#[test]
fn no_command_needs_a_shell_and_the_merge_waits_for_no_unit() {
    let file = file();
    let (merge, unmerge) = (&file["extensions.heartbeat.on_merge"], &file["extensions.heartbeat.on_unmerge"]);
    assert!(merge.iter().all(|command| command.contains(" --no-block ")), "{merge:?}");
    for command in merge.iter().chain(unmerge) {
        assert!(
            command.starts_with("systemctl ") && command.ends_with(" nixfleet-heartbeat.service"),
            "{command}"
        );
        assert!(!command.contains(['&', '|', '>', '<', '$', '\'', '"']), "{command}");
    }
}

#[test]
fn what_the_extension_names_is_there_or_is_put_there_by_the_page() {
    let overlay = format!("dist/avocado/{}", file()["extensions.heartbeat.overlay"][0]);
    assert!(repository(&overlay).join("etc/heartbeat.conf").exists());
    let unit = fs::read_to_string(repository("dist/systemd/nixfleet-heartbeat.service")).unwrap();
    let program = unit.lines().find_map(|line| line.strip_prefix("ExecStart=")).unwrap();
    let program = program.split(' ').next().unwrap();
    let blocks = page("dist/avocado/README.md").blocks();
    let steps: String = blocks.iter().map(|block| block.text.as_str()).collect();
    for placed in [program, "/usr/lib/systemd/system"] {
        assert!(steps.contains(&format!("{overlay}{placed}")), "README.md puts nothing at {placed}");
    }
    assert!(program.starts_with("/usr/"), "a sysext has /usr and /opt alone: {program}");
}
