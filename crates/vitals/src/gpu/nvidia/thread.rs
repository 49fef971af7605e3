//! NVML in this process, on a thread of its own, for programs without a reader.

use std::path::PathBuf;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use super::{Answer, Failure, Selection, Status, nvml};

/// A request to the thread.
#[derive(Debug)]
enum Request {
    /// Read these GPUs.
    Read(Selection),
    /// Close the library, because an open library keeps GPUs awake.
    Close,
}

/// Connection to the thread.
#[derive(Debug)]
struct Worker {
    requests: mpsc::Sender<Request>,
    answers: mpsc::Receiver<Answer>,
}

/// The thread, from the first query on. It is never joined.
#[derive(Debug)]
pub(super) struct Thread {
    libraries: Vec<PathBuf>,
    worker: Option<Worker>,
    /// Whether the library may be open.
    open: bool,
}

impl Thread {
    pub(super) fn new(libraries: Vec<PathBuf>) -> Self {
        Self { libraries, worker: None, open: false }
    }

    pub(super) fn ask(&mut self, selection: Selection) -> Result<(), Failure> {
        if self.worker.is_none() {
            self.worker = start(self.libraries.clone());
        }
        let worker = self.worker.as_ref().ok_or(Status::Failed)?;
        if worker.requests.send(Request::Read(selection)).is_err() {
            self.worker = None;
            return Err(Status::Failed.into());
        }
        self.open = true;
        Ok(())
    }

    pub(super) fn hear(&mut self, limit: Duration) -> Option<Answer> {
        let Some(worker) = &self.worker else { return Some(Err(Status::Failed.into())) };
        match worker.answers.recv_timeout(limit) {
            Ok(answer) => Some(answer),
            Err(mpsc::RecvTimeoutError::Timeout) => None,
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                // The thread panicked. The next query starts a new one.
                self.worker = None;
                Some(Err(Status::Failed.into()))
            }
        }
    }

    /// Closes the library after the current query.
    pub(super) fn close(&mut self) {
        if let Some(worker) = self.worker.as_ref().filter(|_| self.open) {
            // If the thread has ended, the library is closed already.
            drop(worker.requests.send(Request::Close));
            self.open = false;
        }
    }
}

fn start(libraries: Vec<PathBuf>) -> Option<Worker> {
    let (requests, received) = mpsc::channel();
    let (reply, answers) = mpsc::channel();
    let run = move || {
        let mut library = nvml::Library::new(libraries);
        // The loop ends when the sender is dropped.
        for request in received {
            match request {
                Request::Read(selection) => {
                    if reply.send(library.read(&selection)).is_err() {
                        return;
                    }
                }
                Request::Close => library.close(),
            }
        }
    };
    // The default stack size, because it is unknown how much NVIDIA's library needs.
    match thread::Builder::new().name("nvml".to_owned()).spawn(run) {
        Ok(_never_joined) => Some(Worker { requests, answers }),
        Err(error) => {
            tracing::warn!(%error, "No thread for NVML: NVIDIA's GPUs are not read.");
            None
        }
    }
}
