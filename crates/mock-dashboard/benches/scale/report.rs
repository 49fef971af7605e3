//! The measured values beside their limits and goals.

/// All values are better when they are lower.
struct Row {
    name: String,
    figure: f64,
    unit: &'static str,
    must: f64,
    aim: f64,
}

impl Row {
    fn verdict(&self) -> &'static str {
        if self.must.is_infinite() {
            ""
        } else if self.figure <= self.aim {
            "aim"
        } else if self.figure <= self.must {
            "must"
        } else {
            // Also NaN, which means that nothing was counted.
            "MISSED"
        }
    }
}

#[derive(Default)]
pub(crate) struct Report {
    rows: Vec<Row>,
}

impl Report {
    /// Adds a value. An infinite limit means that there is none.
    pub(crate) fn row(&mut self, name: &str, figure: f64, unit: &'static str, must: f64, aim: f64) {
        self.rows.push(Row { name: name.to_owned(), figure, unit, must, aim });
    }

    pub(crate) fn misses(&self) -> bool {
        self.rows.iter().any(|row| row.verdict() == "MISSED")
    }

    pub(crate) fn print(&self) {
        println!("{:<50} {:>12}    {:>8} {:>8}  reached", "", "measured", "must", "aim");
        for row in &self.rows {
            let number = |figure: f64| match figure {
                figure if figure.is_infinite() => "-".to_owned(),
                figure if figure.fract() == 0.0 || figure.abs() >= 1000.0 => format!("{figure:.0}"),
                figure => format!("{figure:.2}"),
            };
            let (measured, must, aim) = (number(row.figure), number(row.must), number(row.aim));
            println!("{:<50} {measured:>12} {:<2} {must:>8} {aim:>8}  {}", row.name, row.unit, row.verdict());
        }
    }
}

/// The value below which this share of the values is, in percent.
pub(crate) fn percentile(values: &mut [f64], percent: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let at = (percent / 100.0 * values.len() as f64).ceil() as usize;
    values.get(at.saturating_sub(1)).copied().unwrap_or(f64::NAN)
}
