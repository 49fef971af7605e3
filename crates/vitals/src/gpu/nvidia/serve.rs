//! The reader: NVML in a process of its own, which answers questions.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use super::message::Question;
use super::nvml;

/// Longest question, in bytes. It has 16 for each GPU.
const MAX_QUESTION: u64 = 64 * 1024;

/// Reads NVIDIA's GPUs for another process, until that closes the socket. `libraries` are the paths of NVIDIA's
/// library, in the order in which they are tried. It is what a [reader](crate::settings::Paths::gpu_reader) does.
///
/// # Errors
/// A question cannot be read, or its answer not written.
pub fn serve(libraries: Vec<PathBuf>, mut socket: UnixStream) -> io::Result<()> {
    let mut library = nvml::Library::new(libraries);
    let mut input = BufReader::new(socket.try_clone()?);
    let mut line = Vec::new();
    loop {
        line.clear();
        input.by_ref().take(MAX_QUESTION).read_until(b'\n', &mut line)?;
        if line.is_empty() {
            return Ok(());
        }
        let question = Question::parse(&line).ok_or(io::ErrorKind::InvalidData)?;
        socket.write_all(question.answered(&library.read(&question.selection)).as_bytes())?;
    }
}
