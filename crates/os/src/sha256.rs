//! SHA-256 of files and texts.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::bounded_read;

/// Longest program that is hashed, in bytes. An agent with full debug information has about 200 MB.
pub const PROGRAM: u64 = 1024 * 1024 * 1024;

/// Longest flake.lock that is hashed, in bytes. One with hundreds of inputs has less than a megabyte. The content of a
/// repository decides about its length, and each job waits for the hash at its end.
pub const FLAKE_LOCK: u64 = 32 * 1024 * 1024;

/// Bytes read at a time.
const PIECE: usize = 64 * 1024;

/// SHA-256 of a regular file of at most `limit` bytes, in hex.
///
/// # Errors
/// The file cannot be read, is not a regular file, or is longer.
pub fn hash_file(path: &Path, limit: u64) -> io::Result<String> {
    hash(bounded_read::open(path)?, limit)
}

/// SHA-256 of the rest of an open file of at most `limit` bytes, in hex.
///
/// # Errors
/// The file cannot be read, or is longer. Nothing of a file is read that says so itself.
pub fn hash(file: File, limit: u64) -> io::Result<String> {
    if file.metadata()?.len() > limit {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    let mut hasher = Sha256::new();
    let mut piece = vec![0; PIECE];
    let mut left = limit;
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
    Ok(hex(hasher))
}

/// SHA-256 of these bytes, in hex.
pub fn hash_bytes(bytes: &[u8]) -> String {
    hex(Sha256::new_with_prefix(bytes))
}

fn hex(hasher: Sha256) -> String {
    hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_beyond_the_limit_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("flake.lock");
        std::fs::write(&path, "abc").unwrap();
        let hash = hash_file(&path, 3).unwrap();
        assert_eq!(hash, hash_bytes(b"abc"));
        assert_eq!(hash, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        // Without a block on the disk. Reading it would take hours.
        File::options().write(true).open(&path).unwrap().set_len(1 << 42).unwrap();
        let (answer, answered) = std::sync::mpsc::channel();
        std::thread::spawn(move || answer.send(hash_file(&path, (1 << 42) - 1).map_err(|err| err.kind())));
        let answer = answered.recv_timeout(std::time::Duration::from_secs(20)).expect("an answer");
        assert_eq!(answer, Err(io::ErrorKind::FileTooLarge));
    }
}
