use super::*;

fn details(text: &str) -> Vec<Option<String>> {
    text.split(['\r', '\n']).filter(|line| !line.is_empty()).map(progress).collect()
}

#[test]
fn gits_progress_becomes_a_detail() {
    for (line, detail) in [
        ("Receiving objects:   0% (1/302)", "receiving objects 0%"),
        (
            "Receiving objects:  45% (450/1000), 1.20 MiB | 2.00 MiB/s",
            "receiving objects 45%, 1.20 MiB at 2.00 MiB/s",
        ),
        (
            "Receiving objects: 100% (302/302), 5.72 MiB | 31.00 MiB/s, done.",
            "receiving objects 100%, 5.72 MiB at 31.00 MiB/s",
        ),
        ("Resolving deltas:  12% (5/40)", "resolving deltas 12%"),
        ("Updating files: 100% (300/300), done.", "updating files 100%"),
        ("remote: Enumerating objects: 302, done.        ", "server: enumerating objects 302"),
        ("remote: Counting objects:  33% (101/302)\u{1b}[K", "server: counting objects 33%"),
        ("remote: Compressing objects: 100% (300/300), done.        ", "server: compressing objects 100%"),
        ("Enumerating objects: 1234", "enumerating objects 1234"),
        (
            "Downloading LFS objects:  45% (9/20), 12 MB | 3.0 MB/s                    ",
            "downloading lfs objects 45%, 12 MB at 3.0 MB/s",
        ),
        (
            "Filtering content:  12% (5/40), 3.00 MiB | 1.00 MiB/s",
            "filtering content 12%, 3.00 MiB at 1.00 MiB/s",
        ),
    ] {
        assert_eq!(progress(line).as_deref(), Some(detail), "{line}");
    }
}

#[test]
fn another_line_is_no_progress() {
    for line in [
        "",
        "Cloning into '.'...",
        "From https://git.example.org/fleet",
        "   347a7a9..82176cc  main       -> origin/main",
        "HEAD is now at 82176cc 2",
        "fatal: unable to access 'https://git.example.org/': Could not resolve host: git.example.org",
        "Receiving objects: almost all",
        "Receiving objects: 400% (4/1)",
        "Receiving objects:  45% (a/b)",
        "Receiving objects:  45% (1/2) of them",
        "Receiving objects: 10, done.0% (1000/1000)",
        "Objects left: 12",
        "remote: Resolving: 12 is the answer",
        "remote: 12% (1/2)",
        "Submodule path 'lib': checked out 'eb2d6f6'",
        "error: 12% (1/2)",
    ] {
        assert_eq!(progress(line), None, "{line}");
    }
}

#[test]
fn what_git_wrote_for_a_real_clone_is_all_progress_but_one_line() {
    let text = "Cloning into 'c'...\nremote: Enumerating objects: 302, done.        \n\
                remote: Counting objects:   0% (1/302)        \rremote: Counting objects: 100% (302/302), done.        \n\
                remote: Compressing objects: 100% (301/301), done.        \nReceiving objects:   0% (1/302)\r\
                Receiving objects:   1% (4/302)\rremote: Total 302 (delta 0), reused 0 (delta 0), pack-reused 0 (from 0)        \n\
                Receiving objects: 100% (302/302), 5.73 MiB | 35.20 MiB/s, done.\n";
    let mut words = GitWords::default();
    let shown: Vec<&str> =
        text.split(['\r', '\n']).filter(|line| !line.is_empty() && !words.read(line)).collect();
    assert_eq!(shown, ["Cloning into 'c'..."]);
    assert_eq!(words.detail, "receiving objects 100%, 5.73 MiB at 35.20 MiB/s");
    assert_eq!(details("a\rb").len(), 2);
}

#[test]
fn a_name_that_cannot_be_resolved_is_found_in_the_words_of_curl_ssh_and_git() {
    for (line, name) in [
        (
            "fatal: unable to access 'https://git.example.org/x/': Could not resolve host: git.example.org",
            Some("git.example.org"),
        ),
        (
            "fatal: unable to access 'https://git.example.org/x/': Could not resolve proxy: proxy.example.org",
            Some("proxy.example.org"),
        ),
        (
            "ssh: Could not resolve hostname git.example.org: Temporary failure in name resolution",
            Some("git.example.org"),
        ),
        (
            "ssh: Could not resolve hostname git.example.org: Name or service not known",
            Some("git.example.org"),
        ),
        (
            "fatal: unable to look up git.example.org (port 9418) (Name or service not known)",
            Some("git.example.org"),
        ),
        (
            "fatal: unable to access 'https://git.example.org/x/': Failed to connect to git.example.org port 443",
            None,
        ),
        ("remote: Could not resolve host: mirror.example.org", None),
        ("Could not resolve host: ", None),
    ] {
        let mut words = GitWords::default();
        assert!(!words.read(line), "{line}");
        assert_eq!(words.unresolved.as_deref(), name, "{line}");
    }
}

#[test]
fn words_about_damaged_objects_are_told_from_those_about_the_disk_and_the_server() {
    for (line, is) in [
        ("error: object file .git/objects/82/176cc9f41875193bf6af1ab5de20592c61bbe0 is empty", true),
        ("fatal: loose object 82176cc (stored in .git/objects/82/176cc) is corrupt", true),
        ("fatal: bad object 82176cc9f41875193bf6af1ab5de20592c61bbe0", true),
        ("fatal: Could not parse object 'refs/remotes/origin/main'.", true),
        ("error: unable to read sha1 file of g (0cfbf08886fca9a91cb753ec8734c84fcbe52c9f)", true),
        ("error: refs/heads/main: invalid sha1 pointer 82176cc9f41875193bf6af1ab5de20592c61bbe0", true),
        ("error: file .git/objects/pack/pack-183b.pack is far too short to be a packfile", true),
        ("error: packfile .git/objects/pack/pack-183b.pack cannot be accessed", true),
        ("missing blob 0cfbf08886fca9a91cb753ec8734c84fcbe52c9f", true),
        ("remote: error: object file ./objects/82/176cc is empty", false),
        ("error: unable to open object file .git/objects/82/176cc: Input/output error", false),
        ("error: unable to open loose object 82176cc: Permission denied", false),
        ("fatal: couldn't find remote ref refs/heads/nope", false),
        ("a note about a missing object file", false),
    ] {
        let mut words = GitWords::default();
        words.read(line);
        assert_eq!(words.damage.as_deref(), is.then_some(line), "{line}");
    }
}
