use std::{fs, io::Write, process::Command};

use super::*;

const A: &str = "1d91f2b4c0ffee00000000000000000000000001";
const B: &str = "2222222222222222222222222222222222222222";

/// A folder with these files below `.git`.
fn repo(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, content) in files {
        let path = folder.path().join(".git").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    folder
}

#[test]
fn head_is_found_however_git_keeps_it() {
    let main = "ref: refs/heads/main\n";
    let loose = |hash: &str| format!("{hash}\n");
    let packed = format!(
        "# pack-refs with: peeled fully-peeled sorted\n{B} refs/heads/mainline\n{A} refs/heads/main\n^{B}\n"
    );
    let sha256 = "ab".repeat(32);
    for (what, files, wanted) in [
        ("loose", vec![("HEAD", main), ("refs/heads/main", &loose(A))], Some(A)),
        ("detached", vec![("HEAD", &loose(A))], Some(A)),
        ("upper case", vec![("HEAD", &loose(&A.to_uppercase()))], Some(A)),
        ("sha-256", vec![("HEAD", &sha256)], Some(&*sha256)),
        ("packed", vec![("HEAD", main), ("packed-refs", &packed)], Some(A)),
        (
            "loose over packed",
            vec![("HEAD", main), ("refs/heads/main", B), ("packed-refs", &packed)],
            Some(B),
        ),
        ("a ref of a ref", vec![("HEAD", "ref: refs/x"), ("refs/x", main), ("refs/heads/main", A)], Some(A)),
        ("a circle", vec![("HEAD", "ref: refs/x"), ("refs/x", "ref: refs/x")], None),
        ("no commit yet", vec![("HEAD", main)], None),
        ("reftable", vec![("HEAD", "ref: refs/heads/.invalid\n"), ("reftable/tables.list", "x")], None),
        (
            "out of the folder",
            vec![("HEAD", "ref: refs/../../secret"), ("refs/x", A), ("../secret", A)],
            None,
        ),
        ("absolute", vec![("HEAD", "ref: /etc/passwd")], None),
        ("nonsense", vec![("HEAD", "hello")], None),
        ("empty", vec![("HEAD", "")], None),
        ("a short hash", vec![("HEAD", "1d91f2b")], None),
    ] {
        assert_eq!(head_commit(repo(&files).path()).as_deref(), wanted, "{what}");
    }
    assert_eq!(head_commit(Path::new("/nonexistent")), None);
}

#[test]
fn real_git_agrees_in_every_state() {
    let folder = tempfile::tempdir().unwrap();
    let (repo, linked) = (folder.path().join("repo"), folder.path().join("linked"));
    let git = |at: &Path, arguments: &[&str]| {
        let output = Command::new("git")
            .arg("-C")
            .arg(at)
            .args(["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "init.defaultBranch=main"])
            .args(arguments)
            .output()
            .expect("the tests need git");
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    git(folder.path(), &["init", "-q", "repo"]);
    assert_eq!(head_commit(&repo), None, "no commit yet");
    let agrees = |at: &Path| assert_eq!(head_commit(at), Some(git(at, &["rev-parse", "HEAD"])));
    git(&repo, &["commit", "-q", "--allow-empty", "-m", "one"]);
    agrees(&repo);
    git(&repo, &["commit", "-q", "--allow-empty", "-m", "two"]);
    agrees(&repo);
    git(&repo, &["pack-refs", "--all"]);
    agrees(&repo);
    git(&repo, &["worktree", "add", "-q", "-b", "side", linked.to_str().unwrap()]);
    git(&linked, &["commit", "-q", "--allow-empty", "-m", "three"]);
    agrees(&linked);
    agrees(&repo);
    git(&repo, &["pack-refs", "--all"]);
    agrees(&linked);
    git(&repo, &["checkout", "-q", "--detach", "HEAD~1"]);
    agrees(&repo);
}

#[test]
fn a_fifo_does_not_hold_it_up_and_a_huge_file_does_not_fill_it_up() {
    let folder = repo(&[("refs/heads/x", A)]);
    let git = folder.path().join(".git");
    let fifo = Command::new("mkfifo").arg(git.join("HEAD")).status().unwrap();
    assert!(fifo.success());
    assert_eq!(head_commit(folder.path()), None);

    fs::remove_file(git.join("HEAD")).unwrap();
    fs::write(git.join("HEAD"), "ref: refs/heads/main").unwrap();
    // Sparse: 1 GiB without a line end.
    let packed = fs::File::create(git.join("packed-refs")).unwrap();
    packed.set_len(1 << 30).unwrap();
    assert_eq!(head_commit(folder.path()), None);

    let mut packed = fs::File::create(git.join("packed-refs")).unwrap();
    writeln!(packed, "{B} refs/tags/{}", "x".repeat(MAX_LINE as usize)).unwrap();
    writeln!(packed, "{A} refs/heads/main").unwrap();
    assert_eq!(head_commit(folder.path()), None);
}
