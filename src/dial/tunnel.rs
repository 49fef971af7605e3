//! The way to the target.

use super::Stream;
use super::failure::ConnectError;
use super::hard_close::HardClose;
use super::reach::{Unreached, reach};
use super::target::Target;

/// Opens a connection on which the target listens.
pub(super) async fn open(target: &Target) -> Result<(Stream, HardClose), ConnectError> {
    let unreachable = |err| ConnectError::Unreachable(target.place(), err);
    let tcp = reach(target.host(), target.port()).await.map_err(|err| match err {
        Unreached::NoThread(err) => ConnectError::NoThread(err),
        Unreached::Lookup(err) => ConnectError::Lookup(target.place(), err),
        Unreached::Tcp(err) => unreachable(err),
    })?;
    let hard_close = HardClose::of(&tcp).map_err(unreachable)?;
    Ok((Box::new(tcp), hard_close))
}
