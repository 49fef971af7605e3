//! The measured values of each agent beside each other, and beside what they must and should be.

use crate::lines::{Best, Line};

struct Row {
    line: Line,
    /// For each agent, its figures in the order in which they were measured.
    figures: Vec<Vec<f64>>,
}

/// What was measured.
pub(crate) struct Report {
    agents: Vec<String>,
    rows: Vec<Row>,
    /// Processor time by thread: agent, name, microseconds a beat.
    threads: Vec<(usize, String, f64)>,
    /// A figure of the first agent is missing.
    ours_failed: bool,
}

impl Report {
    pub(crate) fn new(agents: Vec<String>) -> Self {
        Self { agents, rows: Vec::new(), threads: Vec::new(), ours_failed: false }
    }

    /// Adds a figure of the agent with this number.
    pub(crate) fn add(&mut self, line: Line, agent: usize, figure: f64) {
        let at = self.rows.iter().position(|row| row.line.name == line.name).unwrap_or_else(|| {
            self.rows.push(Row { line, figures: vec![Vec::new(); self.agents.len()] });
            self.rows.len() - 1
        });
        self.rows[at].figures[agent].push(figure);
    }

    pub(crate) fn thread(&mut self, agent: usize, name: &str, microseconds: f64) {
        self.threads.push((agent, name.to_owned(), microseconds));
    }

    /// A figure of this agent could not be measured; why is on standard error.
    pub(crate) fn failed(&mut self, agent: usize) {
        self.ours_failed |= agent == 0;
    }

    /// Whether the agent of this repository misses a figure that it must reach, or could not be measured.
    pub(crate) fn misses(&self) -> bool {
        self.ours_failed
            || self.rows.iter().any(|row| verdict(&row.line, median(&row.figures[0])) == "MISSED")
    }

    pub(crate) fn print(&self) {
        print!("\n{:<48}", "median (least to most)");
        self.agents.iter().for_each(|name| print!(" {name:>30}"));
        if self.agents.len() > 1 {
            print!(" {:>6}", "ratio");
        }
        println!(" {:>9} {:>9}  reached", "must", "aim");
        for Row { line, figures } in &self.rows {
            print!(
                "{:<48}",
                format!("{}{}{}", line.name, if line.unit.is_empty() { "" } else { ", " }, line.unit)
            );
            figures.iter().for_each(|figures| print!(" {:>30}", spread(figures)));
            if let [ours, other] = figures.as_slice() {
                print!(" {:>6}", number(ratio(ours, other)));
            }
            let reached = verdict(line, median(&figures[0]));
            println!(" {:>9} {:>9}  {reached}", number(line.must), number(line.aim));
        }
        if !self.threads.is_empty() {
            println!("\nprocessor time by thread, microseconds a beat");
        }
        for (agent, name, microseconds) in &self.threads {
            println!("  {:<24} {name:<18} {:>8}", self.agents[*agent], number(*microseconds));
        }
    }
}

fn verdict(line: &Line, figure: f64) -> &'static str {
    // NaN, which means no samples, reaches no bound.
    let reaches = |bound: f64| match line.best {
        Best::Low => figure <= bound,
        Best::High => figure >= bound,
    };
    match (line.aim.is_finite(), line.must.is_finite()) {
        (_, false) => "-",
        (true, _) if reaches(line.aim) => "aim",
        _ if reaches(line.must) => "must",
        _ => "MISSED",
    }
}

fn median(figures: &[f64]) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    let half = sorted.len() / 2;
    match sorted.len() {
        0 => f64::NAN,
        odd if odd % 2 == 1 => sorted[half],
        _ => f64::midpoint(sorted[half - 1], sorted[half]),
    }
}

/// The median of the ratios of pairs: both of a pair were measured one after the other, or at the same time, so
/// that what slows down the machine slows down both.
fn ratio(ours: &[f64], other: &[f64]) -> f64 {
    let ratios: Vec<f64> = ours.iter().zip(other).map(|(ours, other)| ours / other).collect();
    median(&ratios)
}

fn spread(figures: &[f64]) -> String {
    let least = figures.iter().copied().fold(f64::INFINITY, f64::min);
    let most = figures.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    match figures.len() {
        0 => "not measured".to_owned(),
        1 => number(figures[0]),
        _ => format!("{} ({} to {})", number(median(figures)), number(least), number(most)),
    }
}

fn number(figure: f64) -> String {
    match figure {
        figure if !figure.is_finite() => "-".to_owned(),
        figure if figure.fract() == 0.0 || figure.abs() >= 1000.0 => format!("{figure:.0}"),
        figure if figure.abs() < 1.0 => format!("{figure:.3}"),
        figure => format!("{figure:.2}"),
    }
}
