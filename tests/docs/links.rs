//! Each link leads to a file and a heading, on a forge as well as in the book.

use std::path::{Component, Path, PathBuf};

use crate::page::{Page, files, page, pages, repository};

/// Files of other kinds whose comments and messages name documents.
const SOURCES: [&str; 9] = ["rs", "nix", "service", "toml", "yaml", "yml", "py", "conf", "rules"];

/// A path without `..` in it. Links are text; nothing is a symbolic link here.
fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => assert!(normal.pop(), "{}: out of the repository", path.display()),
            Component::CurDir => {}
            part => normal.push(part),
        }
    }
    normal
}

fn problem(from: &Page, target: &str) -> Option<String> {
    if target.starts_with("https://") || target.starts_with("http://") {
        return target.contains(char::is_whitespace).then(|| "has a space".to_owned());
    }
    let (file, anchor) = target.split_once('#').map_or((target, None), |(file, anchor)| (file, Some(anchor)));
    let path = if file.is_empty() {
        PathBuf::from(&from.path)
    } else {
        normal(&Path::new(&from.path).parent().unwrap().join(file))
    };
    if from.path.starts_with("docs/") && !path.starts_with("docs") {
        return Some(
            "leads out of docs/, where the book cannot follow: name the file between backticks".to_owned(),
        );
    }
    if !repository(path.to_str().unwrap()).exists() {
        return Some("there is no such file".to_owned());
    }
    let anchor = anchor?;
    let there = page(path.to_str().unwrap());
    (!there.anchors().iter().any(|known| known == anchor)).then(|| "there is no such heading".to_owned())
}

#[test]
fn every_link_leads_somewhere() {
    let mut wrong = Vec::new();
    for page in pages() {
        for (place, target) in page.links() {
            // A chapter of the book that is announced, and not written.
            if target.is_empty() && page.path == "docs/SUMMARY.md" {
                continue;
            }
            if let Some(problem) = problem(&page, &target) {
                wrong.push(format!("{place}: {target}: {problem}"));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn the_book_has_every_page_of_docs() {
    let summary = page("docs/SUMMARY.md");
    let named: Vec<String> = summary.links().into_iter().map(|link| format!("docs/{}", link.1)).collect();
    for path in files(&["md"]).iter().filter(|path| path.starts_with("docs/") && *path != &summary.path) {
        assert!(named.contains(path), "docs/SUMMARY.md does not name {path}");
    }
}

/// Whoever lands on the page of a forge finds every page from there.
#[test]
fn the_readme_links_to_every_page_of_the_book() {
    let readme = page("README.md");
    let linked: Vec<String> = readme.links().into_iter().map(|link| link.1).collect();
    for (_, target) in page("docs/SUMMARY.md").links().iter().filter(|link| !link.1.is_empty()) {
        let path = format!("docs/{target}");
        assert!(
            linked.iter().any(|link| link.split('#').next() == Some(&path)),
            "README.md: no link to {path}"
        );
    }
    assert!(readme.text.lines().count() < 200, "README.md is for the first minute: move the rest to docs/");
}

#[test]
fn code_names_no_document_that_is_not_there() {
    let is_name = |letter: char| letter.is_ascii_alphanumeric() || "-_.".contains(letter);
    let mut wrong = Vec::new();
    for file in files(&SOURCES) {
        let text = std::fs::read_to_string(repository(&file)).unwrap();
        for rest in text.split("docs/").skip(1) {
            let name = rest.split(|letter| !is_name(letter)).next().unwrap();
            if let Some(name) = name.split_inclusive(".md").next().filter(|name| name.ends_with(".md"))
                && name.len() > ".md".len()
                && !repository(&format!("docs/{name}")).exists()
            {
                wrong.push(format!("{file}: docs/{name}"));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}
