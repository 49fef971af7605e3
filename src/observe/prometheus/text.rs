//! Families and samples as text.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt::Display;

use jiff::Timestamp;

use nixfleet_os::text::one_line;

use crate::observe::stats::{Counts, Histogram};

/// Longest value of a label, in characters. The longest that is usual, a version of nixpkgs or a name of a GPU, has
/// about forty.
const MAX_LABEL: usize = 128;

/// Most samples of a family whose labels come from the host, such as mount points and sensors. A large host has some
/// dozens; each one is a series that Prometheus keeps.
const MAX_ROWS: usize = 128;

/// The labels of a sample, by name.
pub(super) type Labels<'a> = Vec<(&'static str, Cow<'a, str>)>;

/// A page that is being written.
#[derive(Debug)]
pub(super) struct Text {
    page: String,
    prefix: &'static str,
    left_out: usize,
}

impl Text {
    /// An empty page. `prefix` begins the names that follow.
    pub(super) fn new(prefix: &'static str) -> Self {
        Self { page: String::new(), prefix, left_out: 0 }
    }

    /// Another prefix begins the names from here on.
    pub(super) fn under(&mut self, prefix: &'static str) {
        self.prefix = prefix;
    }

    /// The whole page, with the count of what is not on it.
    pub(super) fn finish(mut self) -> String {
        let help = "Samples that are not on this page: too many of one family, or two with the same labels.";
        self.gauge("samples_left_out", help, Some(self.left_out));
        self.page
    }

    pub(super) fn family(&mut self, name: &str, kind: &str, help: &str) {
        let prefix = self.prefix;
        self.page += &format!("# HELP {prefix}{name} {help}\n# TYPE {prefix}{name} {kind}\n");
    }

    pub(super) fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        self.line(name, labels, &value);
    }

    fn line(&mut self, name: &str, labels: &[(&str, &str)], value: &dyn Display) {
        let line = [self.prefix, name, &braces(labels.iter().copied())].concat();
        self.page += &format!("{line} {value}\n");
    }

    pub(super) fn total(&mut self, name: &str, help: &str, value: impl Display) {
        self.family(name, "counter", help);
        self.sample(name, &[], value);
    }

    pub(super) fn gauge(&mut self, name: &str, help: &str, value: Option<impl Display>) {
        if let Some(value) = value {
            self.family(name, "gauge", help);
            self.sample(name, &[], value);
        }
    }

    /// A figure of the host that a driver or the kernel computed: one that is no number is unknown.
    pub(super) fn figure(&mut self, name: &str, help: &str, value: Option<f64>) {
        self.gauge(name, help, value.filter(|value| value.is_finite()));
    }

    pub(super) fn time(&mut self, name: &str, help: &str, at: Option<&String>) {
        self.gauge(name, help, at.and_then(|at| seconds(at)));
    }

    pub(super) fn counts(&mut self, name: &str, help: &str, label: &str, counts: &Counts) {
        self.family(name, "counter", help);
        for (text, count) in counts {
            self.sample(name, &[(label, text)], count);
        }
    }

    /// A family whose labels come from the host. Samples without a value are left out, and so is the family without
    /// samples.
    pub(super) fn rows<'a>(
        &mut self,
        name: &str,
        kind: &str,
        help: &str,
        rows: impl IntoIterator<Item = (Labels<'a>, Option<f64>)>,
    ) {
        self.each_row(name, kind, help, &mut rows.into_iter());
    }

    /// One function for all iterators: it is in the program once.
    fn each_row<'a>(
        &mut self,
        name: &str,
        kind: &str,
        help: &str,
        rows: &mut dyn Iterator<Item = (Labels<'a>, Option<f64>)>,
    ) {
        let mut seen = BTreeSet::new();
        for (labels, value) in rows {
            let Some(value) = value.filter(|value| value.is_finite()) else { continue };
            let labels = braces(labels.iter().map(|(label, text)| (*label, text.as_ref())));
            // Prometheus refuses a whole page for two samples with the same labels.
            if seen.len() >= MAX_ROWS || seen.contains(&labels) {
                self.left_out += 1;
                continue;
            }
            if seen.is_empty() {
                self.family(name, kind, help);
            }
            self.page += &format!("{}{name}{labels} {value}\n", self.prefix);
            seen.insert(labels);
        }
    }

    pub(super) fn histogram(&mut self, name: &str, help: &str, histogram: &Histogram) {
        self.family(name, "histogram", help);
        let bucket = format!("{name}_bucket");
        let mut below = 0;
        for (count, bound) in histogram.counts.iter().zip(histogram.at_most_ms) {
            below += count;
            self.sample(&bucket, &[("le", &(bound as f64 / 1e3).to_string())], below);
        }
        self.sample(&bucket, &[("le", "+Inf")], histogram.count());
        self.sample(&format!("{name}_sum"), &[], histogram.sum_s);
        self.sample(&format!("{name}_count"), &[], histogram.count());
    }
}

/// Seconds since 1970 of a time in RFC 3339; none if it is no such time, or empty.
pub(super) fn seconds(at: &str) -> Option<f64> {
    at.parse::<Timestamp>().ok().map(|at| at.as_millisecond() as f64 / 1e3)
}

/// Labels as text; nothing without labels.
fn braces<'a>(labels: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let mut text = String::new();
    for (label, value) in labels {
        let before = if text.is_empty() { '{' } else { ',' };
        text += &format!("{before}{label}=\"{}\"", escaped(&one_line(value, MAX_LABEL)));
    }
    if !text.is_empty() {
        text.push('}');
    }
    text
}

/// A label's value with backslashes and quotes escaped. There are no line ends in it.
fn escaped(text: &str) -> String {
    text.replace('\\', r"\\").replace('"', "\\\"")
}
