//! The messages that docs/troubleshooting.md quotes are messages of the program.

use std::fs;

use crate::page::{files, page, repository};

/// Shorter pieces between placeholders say nothing: they are found anywhere.
const SHORT: usize = 6;

/// All sources as one text each, in which a string is on one line.
fn sources() -> Vec<String> {
    let own = |path: &&String| path.starts_with("src/") || path.starts_with("crates/");
    let one_line = |text: String| {
        let mut parts = text.split("\\\n");
        let first = parts.next().unwrap().to_owned();
        parts.fold(first, |all, part| all + part.trim_start())
    };
    files(&["rs"])
        .iter()
        .filter(own)
        .map(|path| one_line(fs::read_to_string(repository(path)).unwrap()))
        .collect()
}

/// The first column of each table about messages, without the backticks around it.
fn quoted() -> Vec<String> {
    let page = page("docs/troubleshooting.md");
    let tables = page.text.split("\n## Messages\n").nth(1).unwrap().split("\n## ").next().unwrap().to_owned();
    let cells = tables.lines().filter_map(|line| line.strip_prefix("| `")?.split("` |").next());
    cells.map(str::to_owned).collect()
}

#[test]
fn every_quoted_message_is_one_of_the_program() {
    let sources = sources();
    let messages = quoted();
    assert!(messages.len() > 30, "where are the messages?");
    let mut gone = Vec::new();
    for message in messages {
        let pieces = message.split("..").map(|piece| piece.trim_matches([' ', ':', ';', ',', '.', '(', ')']));
        let pieces: Vec<&str> = pieces.filter(|piece| piece.len() >= SHORT).collect();
        assert!(!pieces.is_empty(), "{message}: says too little");
        for piece in pieces {
            if !sources.iter().any(|source| source.contains(piece)) {
                gone.push(format!("{message}: nothing says {piece:?}"));
            }
        }
    }
    assert!(gone.is_empty(), "\n{}", gone.join("\n"));
}
