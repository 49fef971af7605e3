//! Sizes for people.

/// Units, each a thousand of the one before it, as on the label of a disk.
const UNITS: [&str; 7] = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];

/// A number of bytes for people, such as `812 kB`, `1.4 MB` or `70.2 GB`: with one decimal place where there are fewer
/// than three digits in front of it.
pub fn size(bytes: u64) -> String {
    let mut value = bytes as f64;
    let mut unit = UNITS[0];
    for larger in UNITS.into_iter().skip(1) {
        // From here on it would be shown as 1000.
        if value < 999.5 {
            break;
        }
        (value, unit) = (value / 1000.0, larger);
    }
    let digits = usize::from(unit != UNITS[0] && value < 99.95);
    format!("{value:.digits$} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_as_people_write_them() {
        for (bytes, text) in [
            (0, "0 B"),
            (512, "512 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (1_449, "1.4 kB"),
            (99_949, "99.9 kB"),
            (99_950, "100 kB"),
            (812_000, "812 kB"),
            (999_499, "999 kB"),
            (999_500, "1.0 MB"),
            (1_400_000, "1.4 MB"),
            (70_200_000_000, "70.2 GB"),
            (150_323_855_360, "150 GB"),
            (u64::MAX, "18.4 EB"),
        ] {
            assert_eq!(size(bytes), text, "{bytes}");
        }
    }
}
