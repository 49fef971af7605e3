use std::time::{Duration, Instant};

use super::*;

/// Longest wait for a state. Only a hang takes this long.
const LIMIT: Duration = Duration::from_secs(30);

/// A scene, in which nothing waits. Its folder has a name as people give them.
fn quick() -> (Scene, tempfile::TempDir) {
    let temporary = tempfile::Builder::new().prefix("some files ").tempdir().unwrap();
    let scene = Scene::build(temporary.path(), Path::new("/bin/sh"), "token").unwrap();
    let sleep = scene.folder.join("quick/sleep");
    write(&sleep, "#!/bin/sh\n").unwrap();
    set_mode(&sleep, 0o755).unwrap();
    (scene, temporary)
}

/// Runs a program of the scene. Returns whether it succeeded, and everything that it said.
fn run(scene: &Scene, program: &Path, arguments: &[&str]) -> (bool, String) {
    let path = format!("{}:{}", scene.folder.join("quick").display(), std::env::var("PATH").unwrap());
    let mut command = Command::new(program);
    let output = command.args(arguments).env("PATH", path).current_dir(&scene.folder).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(said).unwrap())
}

fn rebuild(scene: &Scene, host: &Host, arguments: &[&str]) -> (bool, String) {
    run(scene, &scene.home(host).join("rebuild"), arguments)
}

fn deployed(scene: &Scene, host: &Host) -> String {
    let program = scene.home(host).current_system().join("sw/bin/nixos-version");
    let said = Command::new(program).arg("--json").output().unwrap().stdout;
    serde_json::from_slice::<serde_json::Value>(&said).unwrap()["configurationRevision"].to_string()
}

fn head(scene: &Scene) -> String {
    format!("\"{}\"", nixfleet_jobs::git::head_commit(&scene.origin()).unwrap())
}

fn system(scene: &Scene, host: &Host, link: &str) -> PathBuf {
    fs::canonicalize(scene.home(host).join(link)).unwrap()
}

const PROFILE: &str = "nix/profiles/system";

#[test]
fn a_switch_deploys_the_commit_of_the_checkout_and_a_rollback_goes_back() {
    let (scene, _temporary) = quick();
    let [web, studio, attic] = &HOSTS;
    let first = deployed(&scene, web);
    assert_ne!(first, head(&scene), "the first host is out of date from the start");
    assert_eq!([deployed(&scene, studio), deployed(&scene, attic)], [head(&scene), head(&scene)]);
    let flake = format!("{}#web-1", scene.origin().display());
    let (good, said) = rebuild(&scene, web, &["switch", "--flake", &flake]);
    assert!(good && said.contains("activating the configuration..."), "{said}");
    assert!(said.contains("restarting the following units: nixfleet-agent.service"), "{said}");
    assert_eq!(deployed(&scene, web), head(&scene));
    assert_eq!(system(&scene, web, "current-system"), system(&scene, web, PROFILE));
    assert_ne!(system(&scene, web, "current-system"), system(&scene, web, "booted-system"));

    let (good, said) = rebuild(&scene, web, &["switch", "--rollback"]);
    assert!(good && said.contains("switching profile from version 2 to 1"), "{said}");
    assert_eq!(deployed(&scene, web), first);
    let (good, said) = rebuild(&scene, web, &["switch", "--rollback"]);
    assert!(!good && said.contains("no generation older than the current (1) exists"), "{said}");
    assert!(said.ends_with("returned non-zero exit status 1.\n"), "the real one ends so: {said}");

    assert!(rebuild(&scene, web, &["switch", "--flake", &flake]).0);
    let after_switch = system(&scene, web, "current-system");
    assert!(rebuild(&scene, web, &["boot", "--flake", &flake]).0);
    assert_eq!(system(&scene, web, "current-system"), after_switch, "nothing is activated");
    let next = system(&scene, web, PROFILE);
    assert_ne!(next, after_switch);
    let menu = fs::read_to_string(scene.home(web).join("boot/grub/grub.cfg")).unwrap();
    assert!(menu.contains(&format!("init={}/init", next.display())), "{menu}");
}

#[test]
fn a_build_leaves_a_link_and_counts_for_machines() {
    let (scene, _temporary) = quick();
    let [_, studio, _] = &HOSTS;
    let before = system(&scene, studio, PROFILE);
    let flake = format!("{}#studio", scene.origin().display());
    let (good, said) =
        rebuild(&scene, studio, &["build", "--flake", &flake, "--log-format", "internal-json"]);
    assert!(good, "{said}");
    let counted = said.lines().filter(|line| line.contains("\"id\":2,\"type\":105")).count();
    assert_eq!(counted, 7, "{said}");
    for event in said.lines().filter_map(|line| line.strip_prefix("@nix ")) {
        assert!(serde_json::from_str::<serde_json::Value>(event).is_ok(), "{event}");
    }
    let built = fs::canonicalize(scene.folder.join("result")).unwrap();
    assert!(built.join("bin/switch-to-configuration").exists());
    assert_eq!(system(&scene, studio, PROFILE), before, "only the link was made");
}

#[test]
fn a_system_of_a_bad_commit_cuts_its_network_and_one_of_a_mended_commit_does_not() {
    let (scene, _temporary) = quick();
    let [web, studio, _] = &HOSTS;
    let flake = |host: &Host| format!("{}#{}", scene.origin().display(), host.name);
    let is_down = |host: &Host| {
        assert!(rebuild(&scene, host, &["switch", "--flake", &flake(host)]).0);
        scene.home(host).current_system().join("network-down").exists()
    };
    assert!(!is_down(studio));
    let commit = |action: &str| run(&scene, &scene.folder.join("bin/commit"), &[action, "studio"]);
    let (good, said) = commit("break");
    assert!(good && said.starts_with("Committed "), "{said}");
    assert!(is_down(studio) && !is_down(web));
    let (good, said) = commit("break");
    assert!(good && said.contains("blocked already"), "{said}");
    assert!(commit("mend").0);
    assert!(!is_down(studio));
    let (good, said) = commit("mend");
    assert!(good && said.contains("nothing to mend"), "{said}");
    let before = head(&scene);
    let (good, said) = commit("motd");
    assert!(good && said.contains("studio: message 1"), "{said}");
    assert_ne!(head(&scene), before);
}

#[test]
fn only_folders_that_nobody_needs_are_removed() {
    let temporary = tempfile::tempdir().unwrap();
    let folder = |name: &str| {
        let folder = temporary.path().join(name);
        fs::create_dir(&folder).unwrap();
        folder
    };
    let (needed, dead, unlocked) =
        (folder("nixfleet-demo-1"), folder("nixfleet-demo-2"), folder("nixfleet-demo-3"));
    let other = folder("other");
    let demo = claim(&needed).unwrap();
    drop(claim(&dead).unwrap());
    drop(claim(&other).unwrap());
    removed(temporary.path(), &dead);
    assert!(needed.exists() && unlocked.exists() && other.exists());
    let manager = hold(&needed).unwrap();
    drop(demo);
    remove_dead(temporary.path());
    assert!(needed.exists(), "the manager still needs it");
    drop(manager);
    removed(temporary.path(), &needed);
}

/// Expects that this folder is removed. A program that another test starts has all our files for a moment, and with them
/// the lock.
fn removed(temporary: &Path, folder: &Path) {
    let begun = Instant::now();
    while folder.exists() {
        assert!(begun.elapsed() < LIMIT, "{} is still there", folder.display());
        remove_dead(temporary);
        std::thread::sleep(Duration::from_millis(5));
    }
}
