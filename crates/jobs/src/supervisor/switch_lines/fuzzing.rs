//! What is kept of the output of a rebuild, without a process. For `crates/fuzz`.

use super::SwitchLines;
use crate::journal::Source;
use crate::lines::Lines;

/// What was kept of an output.
#[derive(Debug, Default)]
pub struct Kept {
    /// All names of units.
    pub units: Vec<String>,
    /// All texts for people.
    pub texts: Vec<String>,
    /// The longest list.
    pub longest_list: usize,
    /// Nothing was said about the work of a rebuild.
    pub is_silent: bool,
}

/// Reads what a rebuild wrote to standard error.
pub fn keep(output: &[u8]) -> Kept {
    let (mut said, mut lines) = (SwitchLines::default(), Lines::default());
    lines.push(output, &mut |piece| said.read(Source::Stderr, &piece));
    lines.finish(&mut |piece| said.read(Source::Stderr, &piece));
    let is_silent = {
        let mut rest = said.clone();
        // Counters and the newest lines are no statement.
        (rest.since_no_room, rest.recent, rest.inside) = Default::default();
        rest == SwitchLines::default()
    };
    let check = said.check.clone().unwrap_or_default();
    let no_room = said.no_room.clone();
    let lists =
        [&said.stopped, &said.snippets, &said.failed_units, &said.user_units, &said.users, &check.lines];
    let longest = lists.iter().map(|list| list.len()).max().unwrap_or(0).max(said.failed_jobs.len());
    let jobs = said.failed_jobs.iter().map(|job| &job.unit);
    let units = said.stopped.iter().chain(&said.failed_units).chain(&said.user_units).chain(jobs);
    let of_room = no_room.into_iter().flat_map(|found| [Some(found.line), found.path]).flatten();
    let texts = said.snippets.iter().chain(&said.users).chain(&check.lines).chain([&check.name, &said.error]);
    Kept {
        units: units.cloned().collect(),
        texts: texts.cloned().chain(of_room).collect(),
        longest_list: longest,
        is_silent,
    }
}
