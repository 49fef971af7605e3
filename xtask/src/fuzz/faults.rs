//! Faults to plant into the parsers, so that each fuzz target can show that it finds some.

mod connecting;

/// One fault: an expression of a parser, and a wrong one in its place.
pub(super) struct Fault {
    /// The target that must find it.
    pub(super) target: &'static str,
    /// What goes wrong.
    pub(super) what: &'static str,
    /// The file, from the root folder.
    pub(super) file: &'static str,
    /// The expression, which is in the file once.
    pub(super) right: &'static str,
    /// An expression of the same type.
    pub(super) wrong: &'static str,
}

const fn fault(
    target: &'static str,
    what: &'static str,
    file: &'static str,
    right: &'static str,
    wrong: &'static str,
) -> Fault {
    Fault { target, what, file, right, wrong }
}

/// Two or more for each target. One at least does not panic: it is a wrong value, or a bound that is left out.
pub(super) fn faults() -> impl Iterator<Item = &'static Fault> {
    OF_FILES.iter().chain(connecting::FAULTS)
}

/// Those of what the agent reads from files, from programs and from its dashboard.
const OF_FILES: &[Fault] = &[
    fault(
        "messages",
        "a text for the wire is cut inside a character",
        "crates/protocol/src/bounds.rs",
        "text.truncate(end)",
        "text.truncate(limit - 3)",
    ),
    fault(
        "messages",
        "the mark of a text that was cut is not counted",
        "crates/protocol/src/bounds.rs",
        "limit - MARK.len()",
        "limit",
    ),
    fault(
        "registered",
        "the value of an odd field is cut inside a character",
        "crates/protocol/src/lenient.rs",
        "value.chars().take(SHOWN).collect()",
        "value[..SHOWN.min(value.len())].to_owned()",
    ),
    fault(
        "registered",
        "of two fields with one name the first one counts",
        "crates/protocol/src/lenient.rs",
        "members.iter().rev().find(|(given, _)| given == field.0)",
        "members.iter().find(|(given, _)| given == field.0)",
    ),
    fault(
        "job_files",
        "a message for the history is cut inside a character",
        "crates/jobs/src/history.rs",
        "result.message.chars().take(MAX_MESSAGE).collect()",
        "result.message[..MAX_MESSAGE.min(result.message.len())].to_owned()",
    ),
    fault(
        "job_files",
        "a commit may have 65 digits",
        "crates/jobs/src/git.rs",
        "(1..=64).contains(&text.len())",
        "(1..=65).contains(&text.len())",
    ),
    fault(
        "journal",
        "an entry of any length is kept in memory",
        "crates/jobs/src/journal/segments.rs",
        "self.pending.len() > MAX_ENTRY",
        "self.pending.len() > 64 * MAX_ENTRY",
    ),
    fault(
        "journal",
        "a reader that goes on repeats an entry",
        "crates/jobs/src/journal/reader.rs",
        "entry.seq > self.after",
        "entry.seq >= self.after",
    ),
    fault(
        "journal",
        "missing entries that were progress count as lines",
        "crates/jobs/src/journal/gaps.rs",
        "number.saturating_sub(self.line.saturating_add(1)).min(self.holes)",
        "self.holes",
    ),
    fault(
        "stasysmo",
        "an infinite number is a reading",
        "crates/vitals/src/stasysmo.rs",
        "(number.is_finite() && number >= 0.0)",
        "(number >= 0.0)",
    ),
    fault(
        "stasysmo",
        "the share of swap is that of memory",
        "crates/vitals/src/stasysmo.rs",
        r#"value("swap")?"#,
        r#"value("ram")?"#,
    ),
    fault(
        "heartbeat_conf",
        "a wrong value is cut inside a character",
        "src/cli/vitals/conf.rs",
        "value.chars().take(MAX_SHOWN).collect()",
        "value[..MAX_SHOWN.min(value.len())].to_owned()",
    ),
    fault(
        "heartbeat_conf",
        "an interval may be a second longer than a day",
        "src/cli/vitals/conf.rs",
        "INTERVAL.contains(seconds)",
        "(1..=86_401).contains(seconds)",
    ),
    fault(
        "vitals",
        "an escape at the end of a mount point is cut one byte too far",
        "crates/vitals/src/disk.rs",
        "&behind[3..]",
        "&behind[4..]",
    ),
    fault(
        "vitals",
        "bytes that were sent are read from the column beside theirs",
        "crates/vitals/src/network.rs",
        "(number(0), number(7))",
        "(number(0), number(6))",
    ),
    fault(
        "vitals",
        "an odd line of meminfo counts as 0",
        "crates/vitals/src/memory.rs",
        "words.next()?.parse().ok()?",
        "words.next()?.parse().unwrap_or(0)",
    ),
    fault(
        "nix_log",
        "the line of a build is cut inside a character",
        "crates/jobs/src/supervisor/progress/nix_log.rs",
        "line.truncate(cut.unwrap_or_default())",
        "line.truncate(TAIL_LINE_BYTES)",
    ),
    fault(
        "nix_log",
        "the name of a build may have any length",
        "crates/jobs/src/supervisor/progress/nix_log.rs",
        "(1..=MAX_DERIVATION).contains(&path.len())",
        "!path.is_empty()",
    ),
    fault(
        "nix_log",
        "a line that looks like an event and is none is not shown",
        "crates/jobs/src/supervisor/progress/phases.rs",
        "emit_lines(&line.text, false, emit)",
        "()",
    ),
    fault(
        "switch_lines",
        "the name of a unit may look like an option of systemctl",
        "crates/jobs/src/supervisor/switch_lines/units.rs",
        "!text.starts_with(['-', '.'])",
        "!text.starts_with('.')",
    ),
    fault(
        "switch_lines",
        "a line of a build counts as one of the rebuild",
        "crates/jobs/src/supervisor/switch_lines.rs",
        "room::is_of_a_build(text)",
        "text == \"> \"",
    ),
    fault(
        "nix_log",
        "a reason with a list has any length",
        "crates/jobs/src/supervisor/failure_reason/quote.rs",
        "shorten(text, REASON)",
        "shorten(text, usize::MAX)",
    ),
    fault(
        "nix_log",
        "a reason has the tabs of the output",
        "crates/jobs/src/supervisor/failure_reason/quote.rs",
        "one_line(line, QUOTED)\n",
        "line.chars().take(QUOTED).collect()\n",
    ),
    fault(
        "nix_log",
        "the name of a machine may have any length",
        "crates/jobs/src/supervisor/progress/delays.rs",
        "host.chars().filter(|letter| !letter.is_control()).take(MAX_NAME).collect()",
        "host.chars().filter(|letter| !letter.is_control()).collect()",
    ),
    fault(
        "git_words",
        "a percentage may be more than a hundred",
        "crates/jobs/src/supervisor/progress/git.rs",
        "*percent <= 100",
        "*percent <= 1000",
    ),
    fault(
        "git_words",
        "words about damage are cut inside a character",
        "crates/jobs/src/supervisor/progress/git.rs",
        "text.chars().take(QUOTED).collect()",
        "text[..QUOTED.min(text.len())].to_owned()",
    ),
    fault(
        "settings",
        "the place of an error of syntax is one byte too far",
        "crates/config/src/syntax.rs",
        "text.get(..at).unwrap_or(text)",
        "&text[..(at + 1).min(text.len())]",
    ),
    fault(
        "settings",
        "at most 100 jobs are kept, whatever is set",
        "crates/config/src/validate.rs",
        "usize::try_from(keep).unwrap_or(usize::MAX)",
        "usize::try_from(keep.min(100)).unwrap_or(usize::MAX)",
    ),
    fault(
        "environment_file",
        "an escape needs a byte behind it",
        "crates/config/src/environment_file.rs",
        "bytes.next().filter(|next| !ends_line(*next))",
        r#"Some(bytes.next().expect("a byte")).filter(|next| !ends_line(*next))"#,
    ),
    fault(
        "environment_file",
        "a blank at the end of a value is a part of it",
        "crates/config/src/environment_file.rs",
        "value.truncate(length)",
        "value.truncate(length + 1)",
    ),
    fault(
        "terminal_text",
        "the parameters of a colour may have any length",
        "crates/os/src/text.rs",
        "parameters <= MAX_PARAMETERS",
        "parameters < usize::MAX",
    ),
    fault(
        "terminal_text",
        "one of the characters that change the direction of text is kept",
        "crates/os/src/text.rs",
        "letter.is_control() || misleads(letter)",
        "letter.is_control() || (misleads(letter) && letter != '\\u{2069}')",
    ),
    fault(
        "lines",
        "the last byte of a character of four is not expected behind a cut",
        "crates/jobs/src/lines.rs",
        "bytes.len().saturating_sub(3)",
        "bytes.len().saturating_sub(2)",
    ),
    fault(
        "lines",
        "a piece of a line may have one byte more",
        "crates/jobs/src/lines.rs",
        "MAX_LINE_BYTES.saturating_sub(self.open.len())",
        "(MAX_LINE_BYTES + 1).saturating_sub(self.open.len()).min(text.len())",
    ),
    fault(
        "address",
        "a number behind a colon is a port, also in front of a login",
        "crates/os/src/address.rs",
        "(authority.contains(':') && !authority.starts_with('['))",
        r#"authority.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_err() && !authority.starts_with('['))"#,
    ),
    fault(
        "address",
        "the rest of a query behind a sign of a login is shown",
        "crates/os/src/address.rs",
        "login.contains(QUERY)",
        "login.is_empty()",
    ),
    fault(
        "boot_files",
        "a program of any name counts as the one of a system",
        "crates/jobs/src/boot_entry.rs",
        "named && system.parent().is_some()",
        "named || system.parent().is_none()",
    ),
    fault(
        "boot_files",
        "entries stay in the order in which they were found",
        "crates/jobs/src/boot_entry/systemd_boot.rs",
        "short::sort_by(&mut menu, |a, b| a.compare(b))",
        "menu.dedup()",
    ),
    fault(
        "workload",
        "the name of a model may have one character more",
        "crates/vitals/src/workload.rs",
        "name.chars().take(MAX_MODEL).collect()",
        "name.chars().take(MAX_MODEL + 1).collect()",
    ),
    fault(
        "workload",
        "the name of a model may change the direction of text",
        "crates/vitals/src/workload.rs",
        "text::printable(name, false) == *name",
        "!name.is_empty()",
    ),
    fault(
        "gpu_answer",
        "the name of a GPU may have any length",
        "crates/vitals/src/gpu/nvidia/message.rs",
        "text::one_line(fields.next()?, MAX_NAME)",
        "text::one_line(fields.next()?, 1_000_000)",
    ),
    fault(
        "gpu_answer",
        "a GPU that was not asked for is taken",
        "crates/vitals/src/gpu/nvidia/message.rs",
        "addresses.iter().any(|wanted| wanted == address)",
        "!addresses.is_empty()",
    ),
    fault(
        "retry_after",
        "a date may be any time ahead",
        "src/dial/retry_after.rs",
        "Duration::try_from(until.duration_since(now)).unwrap_or_default().min(LONGEST)",
        "Duration::try_from(until.duration_since(now)).unwrap_or_default()",
    ),
    fault(
        "retry_after",
        "the year 70 of two digits is 2070",
        "src/dial/retry_after.rs",
        "(year.len(), year.parse::<i16>().ok()?)",
        "(year.len(), year.parse::<i16>().ok().map(|year| if year == 70 { 69 } else { year })?)",
    ),
    fault(
        "token_file",
        "the character behind a wrong one is named",
        "crates/config/src/token.rs",
        "token[index]",
        "token[index + 1]",
    ),
    fault(
        "token_file",
        "blanks at the end of a token are left out",
        "crates/config/src/token.rs",
        r#"bytes.strip_suffix(b"\n").unwrap_or(bytes)"#,
        "bytes.trim_ascii_end()",
    ),
    fault(
        "salvage",
        "a damaged record must be UTF-8",
        "crates/jobs/src/record/salvage.rs",
        "String::from_utf8_lossy(start)",
        r#"std::borrow::Cow::Owned(String::from_utf8(start.to_vec()).expect("text"))"#,
    ),
    fault(
        "salvage",
        "the command of another job is taken",
        "crates/jobs/src/record/salvage.rs",
        r#"text("command").filter(|_| of_this_job)"#,
        r#"text("command")"#,
    ),
];
