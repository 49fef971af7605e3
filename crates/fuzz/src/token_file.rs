//! The file with the token.

use std::cell::RefCell;
use std::fs;
use std::path::{Path, PathBuf};

use nixfleet_config::TokenSource;
use tempfile::TempDir;

/// What an error says about a file, without the position of a character.
const ERRORS: [&str; 8] = [
    "FILE holds no token",
    "FILE is an environment file without NIXFLEET_TOKEN",
    "FILE holds an assignment, such as TOKEN=.., instead of a token alone",
    "is a blank, which no token has",
    "is a line end, which no token has",
    "is a control character, which no token has",
    "is not ASCII, which no token has",
    "is the byte order mark of an editor, which no token has",
];

/// What stands before the position of a character.
const BEFORE: &str = "FILE holds something else than a token: character ";

thread_local! {
    static FILE: RefCell<Option<(TempDir, PathBuf)>> = const { RefCell::new(None) };
}

/// A token is one word of printable ASCII that is in the file; a file of one such word holds it, unless that is an
/// assignment. No error and no warning quotes the file.
pub fn token_file(data: &[u8]) {
    FILE.with_borrow_mut(|file| {
        let (_, path) = file.get_or_insert_with(|| {
            let folder = crate::scratch();
            let path = folder.path().join("token");
            (folder, path)
        });
        fs::write(&*path, data).expect("a token file");
        check(path, data);
    });
}

fn check(path: &Path, data: &[u8]) {
    let name = path.to_string_lossy();
    let signs = data.contains(&b'=');
    let line = data.strip_suffix(b"\n").unwrap_or(data);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let is_word = !line.is_empty() && line.iter().all(u8::is_ascii_graphic);
    match TokenSource::File(path.to_path_buf()).read() {
        Ok(token) => {
            let text = token.expose().as_bytes();
            assert!(!text.is_empty() && text.iter().all(u8::is_ascii_graphic), "{text:?}");
            // Quotes and escapes of a variable are not in its value.
            assert!(signs || text == line, "{text:?} is not the file");
            assert!(text.iter().all(|byte| data.contains(byte)), "{text:?} is not in the file");
            let quoted = token.warning().map(|warning| warning.replace(&*name, "FILE"));
            assert!(quoted.is_none_or(|warning| is_known(&warning)), "a warning shows more than the path");
        }
        Err(err) => {
            assert!(signs || !is_word, "{err} of one word");
            let text = err.to_string().replace(&*name, "FILE");
            let known = match text.strip_prefix(BEFORE) {
                Some(rest) => {
                    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
                    let behind = rest.get(digits..).unwrap_or_default();
                    let position: usize = rest.get(..digits).and_then(|text| text.parse().ok()).unwrap_or(0);
                    assert!((1..=data.len()).contains(&position), "{text}");
                    behind
                        .strip_prefix(" of the value of NIXFLEET_TOKEN")
                        .unwrap_or(behind)
                        .trim_start()
                        .to_owned()
                }
                None => text.clone(),
            };
            assert!(ERRORS.contains(&known.as_str()), "{text}");
        }
    }
}

/// The two warnings that there are.
fn is_known(warning: &str) -> bool {
    warning == "The token in FILE is in quotes, which are sent with it; remove them from there."
        || warning
            .starts_with("The token file FILE is an environment file, of which only NIXFLEET_TOKEN is read; ")
            && warning.len() < 200
}
