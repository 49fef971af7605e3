//! Asks an agent of this host for its report.

use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nixfleet_config::Host;
use rustix::process::geteuid;

/// File name of the socket.
const SOCKET: &str = "status.sock";

/// Runtime folder of the shipped unit.
const UNIT_FOLDER: &str = "/run/nixfleet-agent";

/// Time limit for an answer. The agent itself gives up after one second.
const PATIENCE: Duration = Duration::from_secs(5);

/// Longest answer, in bytes; usually it has 5 KB.
const MAX_ANSWER: u64 = 1 << 20;

/// Mode of a socket for everybody on the host: a report holds no secrets.
const EVERYBODY: u32 = 0o666;

/// Mode of a socket for the agent's user and root.
const OWNER: u32 = 0o600;

/// The socket on which an agent of this host listens, and its mode. Under a service manager it is in the
/// runtime folder, which everybody can reach; the state folder belongs to the agent alone.
pub fn listens_at(host: &Host) -> (PathBuf, u32) {
    match (&host.paths.status, &host.runtime_dir) {
        (Some(path), _) => (path.clone(), OWNER),
        (None, Some(folder)) => (folder.join(SOCKET), EVERYBODY),
        (None, None) => (in_state(host), OWNER),
    }
}

/// Sockets to try, in this order. The caller usually runs outside the agent's unit and does not know its
/// environment variables.
pub fn places(host: &Host) -> Vec<PathBuf> {
    match (&host.paths.status, &host.runtime_dir) {
        (Some(path), _) => vec![path.clone()],
        (None, Some(folder)) => vec![folder.join(SOCKET), in_state(host)],
        (None, None) => vec![in_state(host), Path::new(UNIT_FOLDER).join(SOCKET)],
    }
}

fn in_state(host: &Host) -> PathBuf {
    host.own_dir().join(SOCKET)
}

/// Why no agent answers, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum NoAnswer {
    /// Nobody listens.
    #[error("no agent answers at {}: is it running? systemctl status nixfleet-agent", listed(.0))]
    NotRunning(Vec<PathBuf>),
    /// It accepts questions and does not answer.
    #[error("the agent at {} is busy or about to end: ask again", .0.display())]
    Busy(PathBuf),
    /// The socket is for another user.
    #[error("the agent at {} answers its own user, {owner}, and root only: use sudo", socket.display())]
    NotTheUser {
        /// The socket.
        socket: PathBuf,
        /// The id of the user.
        owner: u32,
    },
    /// The way to the socket is closed, or the socket itself, also for its user.
    #[error("no permission to ask the agent at {}: use sudo", .0.display())]
    NoPermission(PathBuf),
    /// Nobody listens where this user can look, and one place is closed to it.
    #[error(
        "no agent answers at {}, and this user may not look for one at {}: is it running? \
         systemctl status nixfleet-agent; sudo nixfleet-agent status asks there as well",
        listed(places), hidden.display()
    )]
    Hidden {
        /// The places where none is.
        places: Vec<PathBuf>,
        /// The place that is closed.
        hidden: PathBuf,
    },
    /// Anything else.
    #[error("cannot ask the agent at {}: {why}", socket.display())]
    Failed {
        /// The socket.
        socket: PathBuf,
        /// The cause.
        why: io::Error,
    },
}

fn listed(places: &[PathBuf]) -> String {
    places.iter().map(|place| place.display().to_string()).collect::<Vec<_>>().join(" or ")
}

/// The report of the first agent that answers, as JSON.
///
/// # Errors
/// [`NoAnswer`], for people. An agent that this user may not ask is told of rather than a place where none is.
pub fn ask(places: &[PathBuf]) -> Result<Vec<u8>, NoAnswer> {
    let (mut reason, mut absent, mut hidden) = (None, Vec::new(), None);
    for place in places {
        match ask_at(place) {
            Ok(document) if !document.is_empty() => return Ok(document),
            Ok(_) => return Err(NoAnswer::Busy(place.clone())),
            Err(err) if is_absent(&err) => absent.push(place.clone()),
            // This may be another user's agent. The agent of this user may be at a later path.
            Err(why) => {
                hidden = hidden.or_else(|| is_hidden(place).then(|| place.clone()));
                reason = reason.or_else(|| Some(refused(place, why)));
            }
        }
    }
    Err(match (reason, hidden) {
        // Whether there is an agent is not known: the folder of its state is closed also while none runs.
        (Some(_), Some(hidden)) if !absent.is_empty() => NoAnswer::Hidden { places: absent, hidden },
        (Some(reason), _) => reason,
        (None, _) => NoAnswer::NotRunning(places.to_vec()),
    })
}

fn is_absent(err: &io::Error) -> bool {
    matches!(err.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
}

/// Whether not even the existence of a socket can be seen.
fn is_hidden(socket: &Path) -> bool {
    fs::symlink_metadata(socket).is_err_and(|err| err.kind() == io::ErrorKind::PermissionDenied)
}

fn refused(socket: &Path, why: io::Error) -> NoAnswer {
    let socket = socket.to_owned();
    if why.kind() != io::ErrorKind::PermissionDenied {
        return NoAnswer::Failed { socket, why };
    }
    // The folder that hides the socket has the same owner.
    let owner = socket.ancestors().find_map(|path| Some(fs::metadata(path).ok()?.uid()));
    match owner {
        Some(owner) if owner != geteuid().as_raw() => NoAnswer::NotTheUser { socket, owner },
        _ => NoAnswer::NoPermission(socket),
    }
}

fn ask_at(path: &Path) -> io::Result<Vec<u8>> {
    let stream = UnixStream::connect(path)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut document = Vec::new();
    stream.take(MAX_ANSWER).read_to_end(&mut document)?;
    Ok(document)
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::net::UnixListener;
    use std::thread;

    use nixfleet_config::Source;

    use super::*;

    #[test]
    fn an_agent_listens_where_people_can_reach_it_or_in_its_own_folder() {
        let environment = [("NIXFLEET_HOSTNAME", "web-1"), ("NIXFLEET_STATE_DIR", "/var/lib/nixfleet-agent")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()));
        let source = Source { file: None, environment: environment.into() };
        let mut host = Host::load(&source).unwrap();
        let own = PathBuf::from("/var/lib/nixfleet-agent/agent/status.sock");
        assert_eq!(listens_at(&host), (own.clone(), 0o600));
        assert_eq!(places(&host), [own.clone(), PathBuf::from("/run/nixfleet-agent/status.sock")]);
        host.runtime_dir = Some(PathBuf::from("/run/other"));
        let other = PathBuf::from("/run/other/status.sock");
        assert_eq!(listens_at(&host), (other.clone(), 0o666));
        assert_eq!(places(&host), [other, own]);
        host.paths.status = Some(PathBuf::from("/tmp/s"));
        assert_eq!(listens_at(&host), (PathBuf::from("/tmp/s"), 0o600));
        assert_eq!(places(&host), [PathBuf::from("/tmp/s")]);
    }

    #[test]
    fn the_first_agent_that_answers_is_heard_and_none_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let (gone, alive) = (folder.path().join("gone"), folder.path().join("alive"));
        drop(UnixListener::bind(&gone).unwrap());
        let nobody = ask(std::slice::from_ref(&gone)).unwrap_err();
        let wanted = "is it running? systemctl status nixfleet-agent";
        assert_eq!(nobody.to_string(), format!("no agent answers at {}: {wanted}", gone.display()));
        let listener = UnixListener::bind(&alive).unwrap();
        let answering = thread::spawn(move || {
            listener.accept().unwrap().0.write_all(b"{}").unwrap();
            drop(listener.accept().unwrap());
        });
        let places = [gone, alive];
        assert_eq!(ask(&places).unwrap(), b"{}");
        assert!(ask(&places).unwrap_err().to_string().contains("busy"), "no answer at all");
        answering.join().unwrap();
    }
}
