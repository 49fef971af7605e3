//! The measured values beside their limits and goals.

/// Whether a low or a high value is good.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Best {
    Low,
    High,
}

struct Row {
    name: String,
    figure: f64,
    unit: &'static str,
    must: f64,
    aim: f64,
    best: Best,
}

impl Row {
    fn verdict(&self) -> &'static str {
        // NaN, which means no samples, reaches no bound.
        let reaches = |bound: f64| match self.best {
            Best::Low => self.figure <= bound,
            Best::High => self.figure >= bound,
        };
        if reaches(self.aim) {
            "aim"
        } else if reaches(self.must) {
            "must"
        } else {
            "MISSED"
        }
    }
}

#[derive(Default)]
pub(crate) struct Report {
    rows: Vec<Row>,
}

impl Report {
    pub(crate) fn row(
        &mut self,
        name: &str,
        figure: f64,
        unit: &'static str,
        must: f64,
        aim: f64,
        best: Best,
    ) {
        self.rows.push(Row { name: name.to_owned(), figure, unit, must, aim, best });
    }

    pub(crate) fn misses(&self) -> bool {
        self.rows.iter().any(|row| row.verdict() == "MISSED")
    }

    pub(crate) fn print(&self) {
        println!("{:<50} {:>12}    {:>10} {:>10}  reached", "", "measured", "must", "aim");
        for row in &self.rows {
            let number = |figure: f64| match figure {
                figure if figure.is_infinite() => "-".to_owned(),
                figure if figure.fract() == 0.0 || figure.abs() >= 1000.0 => format!("{figure:.0}"),
                figure => format!("{figure:.2}"),
            };
            println!(
                "{:<50} {:>12} {:<2} {:>10} {:>10}  {}",
                row.name,
                number(row.figure),
                row.unit,
                number(row.must),
                number(row.aim),
                row.verdict()
            );
        }
    }
}
