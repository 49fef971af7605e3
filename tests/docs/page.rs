//! The documents of this repository: headings, links, blocks of code.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Folders without documents of this project.
const NOT_OURS: [&str; 5] = ["target", ".git", "fixtures", "node_modules", "corpus"];

/// The root folder of the repository, or a path below it.
pub(crate) fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// A document.
#[derive(Debug)]
pub(crate) struct Page {
    /// Its path, from the root folder of the repository.
    pub(crate) path: String,
    pub(crate) text: String,
}

/// A fenced block of code.
#[derive(Debug)]
pub(crate) struct Block {
    /// Where it is, for messages: page and line.
    pub(crate) place: String,
    pub(crate) language: String,
    pub(crate) text: String,
    /// What the comment `<!-- test: .. -->` before it says.
    pub(crate) marker: Option<String>,
}

/// All documents, sorted by path.
pub(crate) fn pages() -> Vec<Page> {
    let mut pages: Vec<Page> = files(&["md"])
        .into_iter()
        .map(|path| {
            let text = fs::read_to_string(repository(&path)).unwrap();
            Page { path, text }
        })
        .collect();
    assert!(pages.len() > 20, "where are the documents?");
    pages.sort_by(|a, b| a.path.cmp(&b.path));
    pages
}

/// The page with this path.
pub(crate) fn page(path: &str) -> Page {
    Page { path: path.to_owned(), text: fs::read_to_string(repository(path)).unwrap() }
}

/// All files whose names end in one of these, by their paths from the root folder.
pub(crate) fn files(endings: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![repository("")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
            let (path, name) = (entry.path(), entry.file_name().into_string().unwrap());
            if entry.file_type().unwrap().is_dir() {
                if !NOT_OURS.contains(&name.as_str()) {
                    folders.push(path);
                }
            } else if endings.iter().any(|ending| name.ends_with(&format!(".{ending}"))) {
                found.push(path.strip_prefix(repository("")).unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    found.sort();
    found
}

impl Page {
    /// All blocks of code.
    pub(crate) fn blocks(&self) -> Vec<Block> {
        let mut blocks = Vec::new();
        let mut open: Option<(Block, String)> = None;
        let mut marker: Option<&str> = None;
        for (number, line) in self.text.lines().enumerate() {
            let bare = line.trim_start();
            if let Some((block, fence)) = &mut open {
                if bare.trim_end() == fence.as_str() {
                    blocks.extend(open.take().map(|(block, _)| block));
                } else {
                    block.text.push_str(line);
                    block.text.push('\n');
                }
            } else if bare.starts_with("```") {
                let fence = bare.chars().take_while(|letter| *letter == '`').collect::<String>();
                let language = bare[fence.len()..].split([',', ' ']).next().unwrap().to_owned();
                let place = format!("{}:{}", self.path, number + 1);
                open = Some((
                    Block { place, language, text: String::new(), marker: marker.take().map(str::to_owned) },
                    fence,
                ));
            } else if !bare.is_empty() {
                marker = bare.strip_prefix("<!-- test: ").and_then(|rest| rest.strip_suffix(" -->"));
            }
        }
        assert!(open.is_none(), "{}: a block does not end", self.path);
        blocks
    }

    /// The text without blocks of code, with the number of each line.
    fn prose(&self) -> Vec<(usize, &str)> {
        let mut inside = false;
        let mut lines = Vec::new();
        for (number, line) in self.text.lines().enumerate() {
            if line.trim_start().starts_with("```") {
                inside = !inside;
            } else if !inside {
                lines.push((number + 1, line));
            }
        }
        lines
    }

    /// The text between backticks, as one line each, with its place. A paragraph may break it.
    pub(crate) fn code_spans(&self) -> Vec<(String, String)> {
        let mut spans = Vec::new();
        let mut paragraph = String::new();
        let mut first = 0;
        for (number, line) in self.prose().into_iter().chain([(0, "")]) {
            if line.trim().is_empty() || line.starts_with('|') {
                for span in paragraph.split('`').skip(1).step_by(2) {
                    spans.push((format!("{}:{first}", self.path), span.to_owned()));
                }
                paragraph.clear();
            }
            if paragraph.is_empty() {
                first = number;
            }
            paragraph.push_str(line.trim());
            paragraph.push(' ');
        }
        spans
    }

    /// The anchors of all headings, as forges and mdBook make them.
    pub(crate) fn anchors(&self) -> Vec<String> {
        let mut seen: BTreeMap<String, usize> = BTreeMap::new();
        let headings = self.prose().into_iter().filter_map(|(_, line)| {
            let title = line.trim_start_matches('#');
            (title.len() < line.len()).then(|| title.strip_prefix(' ')).flatten()
        });
        let anchor = |title: &str| {
            let letters = title.chars().filter(|letter| letter.is_alphanumeric() || " -_".contains(*letter));
            letters.collect::<String>().trim().to_lowercase().replace(' ', "-")
        };
        headings
            .map(anchor)
            .map(|anchor| {
                let count = seen.entry(anchor.clone()).or_default();
                *count += 1;
                if *count == 1 { anchor } else { format!("{anchor}-{}", *count - 1) }
            })
            .collect()
    }

    /// The targets of all links and pictures, with their places.
    pub(crate) fn links(&self) -> Vec<(String, String)> {
        let mut links = Vec::new();
        for (number, line) in self.prose() {
            // What is between backticks is no link.
            let outside: String = line.split('`').step_by(2).collect::<Vec<_>>().join("x");
            for rest in outside.split("](").skip(1) {
                let target = rest.split(')').next().unwrap();
                links.push((format!("{}:{number}", self.path), target.to_owned()));
            }
        }
        links
    }
}

#[test]
fn the_reader_of_documents_finds_what_is_there() {
    let text = "# A `b.json`: c\n\n## D\n## D\n[x](y.md#z) `[no](link)` ![p](q.png)\n\n<!-- test: run -->\n```sh\n# no heading\n```\n\n\
                Run `cargo\ntest` now.\n";
    let page = Page { path: "P".to_owned(), text: text.to_owned() };
    assert_eq!(page.anchors(), ["a-bjson-c", "d", "d-1"]);
    assert_eq!(page.links().iter().map(|link| link.1.as_str()).collect::<Vec<_>>(), ["y.md#z", "q.png"]);
    let blocks = page.blocks();
    assert_eq!((blocks.len(), blocks[0].text.as_str()), (1, "# no heading\n"));
    assert_eq!(blocks[0].marker.as_deref(), Some("run"));
    assert!(page.code_spans().iter().any(|span| span.1 == "cargo test"));
}
