//! `nixfleet-agent doctor`: the findings for people and for programs.

use std::io::{self, Write};

use serde_json::json;

use nixfleet_config::Source;

use super::terminal::{self, Color, Look, Paint};
use super::{FAILURE, Failure, USAGE};
use crate::doctor::{self, Diagnosis, Finding, Verdict};

/// Columns before the text of a finding: verdict and name.
const INDENT: usize = 24;

/// Options of `doctor`.
#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// One JSON document
    #[arg(long)]
    json: bool,
    /// Colours
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    color: Color,
}

/// Runs all checks and shows the findings. The exit code says whether a check failed.
pub(super) fn run(source: &Source, options: &Options) -> Result<(), Failure> {
    let diagnosis = doctor::diagnose(source);
    let text = if options.json {
        format!("{:#}\n", document(&diagnosis))
    } else {
        page(&diagnosis, options.color.look())
    };
    // A closed pipe is not an error: the reader has seen enough.
    drop(io::stdout().write_all(text.as_bytes()));
    match exit_code(&diagnosis) {
        0 => Ok(()),
        code => Err(Failure::Reported(code)),
    }
}

fn exit_code(diagnosis: &Diagnosis) -> u8 {
    match diagnosis.count(Verdict::Fail) {
        _ if diagnosis.unusable => USAGE,
        0 => 0,
        _ => FAILURE,
    }
}

fn document(diagnosis: &Diagnosis) -> serde_json::Value {
    let check = |finding: &Finding| {
        let Finding { name, verdict, text, fix } = finding;
        json!({"check": name, "verdict": verdict.as_str(), "text": text, "fix": fix})
    };
    let count = |verdict| diagnosis.count(verdict);
    json!({
        "ok": count(Verdict::Ok),
        "warnings": count(Verdict::Warning),
        "failed": count(Verdict::Fail),
        "skipped": count(Verdict::Skipped),
        "checks": diagnosis.findings.iter().map(check).collect::<Vec<_>>(),
    })
}

/// One line for each finding. On a terminal, wrapped to its width and with the fix on lines of its own.
fn page(diagnosis: &Diagnosis, look: Look) -> String {
    let mut text: String = diagnosis.findings.iter().map(|finding| entry(finding, look)).collect();
    text.push('\n');
    text.push_str(&summary(diagnosis));
    text.push('\n');
    text
}

fn entry(finding: &Finding, look: Look) -> String {
    let (word, paint) = match finding.verdict {
        Verdict::Ok => ("ok", Paint::Green),
        Verdict::Warning => ("warning", Paint::Yellow),
        Verdict::Fail => ("FAIL", Paint::Red),
        Verdict::Skipped => ("skipped", Paint::Dim),
    };
    let head = format!("{} {:<15}", paint.on(&format!("{word:<7}"), look.colours), finding.name);
    terminal::entry(&head, &finding.text, &finding.fix, INDENT, "; ", look.safe)
}

fn summary(diagnosis: &Diagnosis) -> String {
    let part = |verdict, one: &str, many: &str| match diagnosis.count(verdict) {
        0 => None,
        1 => Some(format!("1 {one}")),
        count => Some(format!("{count} {many}")),
    };
    let parts = [
        part(Verdict::Fail, "failed", "failed"),
        part(Verdict::Warning, "warning", "warnings"),
        part(Verdict::Ok, "ok", "ok"),
        part(Verdict::Skipped, "skipped", "skipped"),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::super::terminal::WIDTH;
    use super::*;

    fn diagnosis() -> Diagnosis {
        let finding = |name, verdict, text: &str, fix: &str| Finding {
            name,
            verdict,
            text: text.to_owned(),
            fix: fix.to_owned(),
        };
        let long = "this host does not trust the certificate's issuer, which is somebody nobody knows";
        let findings = vec![
            finding("configuration", Verdict::Ok, "good\x1b[31m\n", ""),
            finding("tls", Verdict::Fail, long, "set NIXFLEET_CA_FILE"),
            finding("clock", Verdict::Warning, "8 s behind", "timedatectl"),
            finding("gpu", Verdict::Skipped, "none", ""),
        ];
        Diagnosis { findings, unusable: false }
    }

    #[test]
    fn a_pipe_gets_a_line_for_each_check() {
        let look = Look { colours: false, safe: false };
        let wanted = "\
ok      configuration   good
FAIL    tls             this host does not trust the certificate's issuer, which is somebody nobody knows; set NIXFLEET_CA_FILE
warning clock           8 s behind; timedatectl
skipped gpu             none

1 failed, 1 warning, 1 ok, 1 skipped
";
        assert_eq!(page(&diagnosis(), look), wanted);
    }

    #[test]
    fn a_terminal_gets_colours_and_its_width() {
        let wanted = "\
\x1b[32mok     \x1b[0m configuration   good
\x1b[31mFAIL   \x1b[0m tls             this host does not trust the certificate's issuer, which
                        is somebody nobody knows
                        -> set NIXFLEET_CA_FILE
\x1b[33mwarning\x1b[0m clock           8 s behind
                        -> timedatectl
\x1b[2mskipped\x1b[0m gpu             none

1 failed, 1 warning, 1 ok, 1 skipped
";
        assert_eq!(page(&diagnosis(), Look { colours: true, safe: true }), wanted);
        let plain = page(&diagnosis(), Look { colours: false, safe: true });
        assert!(plain.lines().all(|line| line.len() <= WIDTH) && !plain.contains('\x1b'), "{plain}");
    }

    #[test]
    fn the_exit_code_and_the_document_tell_the_worst() {
        let mut diagnosis = diagnosis();
        assert_eq!(exit_code(&diagnosis), FAILURE);
        let document = document(&diagnosis);
        assert_eq!((&document["failed"], &document["checks"][1]["check"]), (&json!(1), &json!("tls")));
        assert_eq!(document["checks"][2]["verdict"], "warning");
        diagnosis.findings.remove(1);
        assert_eq!(exit_code(&diagnosis), 0, "a warning is no failure");
        diagnosis.unusable = true;
        assert_eq!(exit_code(&diagnosis), USAGE);
    }
}
