//! SHA-256 of files.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::bounded_read;

/// Longest file that is hashed, in bytes. An agent with full debug information has about 200 MB.
const MAX_HASHED: u64 = 1024 * 1024 * 1024;

/// Bytes read at a time.
const PIECE: usize = 64 * 1024;

/// SHA-256 of a regular file, in hex.
///
/// # Errors
/// The file cannot be read, is not a regular file, or is longer than 1 GiB.
pub fn hash_file(path: &Path) -> io::Result<String> {
    hash(bounded_read::open(path)?)
}

/// SHA-256 of the rest of an open file, in hex.
///
/// # Errors
/// The file cannot be read, or is longer than 1 GiB.
pub fn hash(file: File) -> io::Result<String> {
    let mut hasher = Sha256::new();
    let mut piece = vec![0; PIECE];
    let mut left = MAX_HASHED;
    let mut file = file;
    loop {
        match file.read(&mut piece) {
            Ok(0) => break,
            Ok(length) => {
                left = left.checked_sub(length as u64).ok_or(io::ErrorKind::FileTooLarge)?;
                hasher.update(&piece[..length]);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}
