//! Numbers, and the tables that they become.

use std::fmt::Write;

use crate::process::to_f64;

/// Whose number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Chaffer's.
    Ours,
    /// The peer's.
    Theirs,
}

/// What has to hold.
#[derive(Debug, Clone, Copy)]
pub enum Bar {
    /// Our number divided by the peer's is at most this.
    RatioAtMost(f64),
    /// Our number divided by the peer's is at least this.
    RatioAtLeast(f64),
    /// Our number itself is at most this.
    AtMost(f64),
    /// Our number is 0, in each repeat.
    Never,
}

/// One scenario's numbers.
#[derive(Debug)]
pub struct Sheet {
    title: String,
    peer: &'static str,
    rows: Vec<Row>,
}

#[derive(Debug)]
struct Row {
    what: String,
    ours: Vec<f64>,
    theirs: Vec<f64>,
    bar: Option<Bar>,
}

impl Sheet {
    /// Empty; `peer` is the right column's name.
    #[must_use]
    pub fn new(title: &str, peer: &'static str) -> Self {
        Self { title: title.into(), peer, rows: Vec::new() }
    }

    /// One repeat's number.
    pub fn note(&mut self, what: &str, side: Side, value: f64) {
        let row = self.row(what);
        match side {
            Side::Ours => row.ours.push(value),
            Side::Theirs => row.theirs.push(value),
        }
    }

    /// What has to hold for a row.
    pub fn expect(&mut self, what: &str, bar: Bar) {
        self.row(what).bar = Some(bar);
    }

    fn row(&mut self, what: &str) -> &mut Row {
        let at = self.rows.iter().position(|row| row.what == what).unwrap_or_else(|| {
            let (ours, theirs) = (Vec::new(), Vec::new());
            self.rows.push(Row { what: what.into(), ours, theirs, bar: None });
            self.rows.len() - 1
        });
        &mut self.rows[at]
    }

    /// The table, in Markdown that also reads as text.
    #[must_use]
    pub fn render(&self) -> String {
        let mut cells =
            vec![["".into(), "Chaffer".into(), self.peer.into(), "ratio".into(), "bar".into()]];
        cells.extend(self.rows.iter().map(Row::cells));
        let width = |column: usize| {
            cells.iter().map(|row: &[String; 5]| row[column].chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..5).map(width).collect();
        let mut text = format!("## {}\n\n", self.title);
        for (index, row) in cells.iter().enumerate() {
            for (cell, width) in row.iter().zip(&widths) {
                // Writing to a String cannot fail.
                let _ = write!(text, "| {cell:<width$} ");
            }
            text.push_str("|\n");
            if index == 0 {
                for width in &widths {
                    let _ = write!(text, "|{}", "-".repeat(width + 2));
                }
                text.push_str("|\n");
            }
        }
        text
    }
}

impl Row {
    /// Each repeat is compared with its own twin, which was measured right beside it, before the median is taken.
    fn ratio(&self) -> Option<f64> {
        let ratios = self.ours.iter().zip(&self.theirs).map(|(ours, theirs)| ours / theirs);
        let ratios: Vec<f64> = ratios.filter(|ratio| ratio.is_finite()).collect();
        (!ratios.is_empty()).then(|| median(&ratios))
    }

    fn cells(&self) -> [String; 5] {
        let ratio = self.ratio();
        let held = |held: bool| if held { "met" } else { "NOT MET" };
        let bar = match self.bar {
            None => String::new(),
            Some(Bar::RatioAtMost(most)) => {
                format!("ratio <= {most}: {}", held(ratio.is_some_and(|ratio| ratio <= most)))
            }
            Some(Bar::RatioAtLeast(least)) => {
                format!("ratio >= {least}: {}", held(ratio.is_some_and(|ratio| ratio >= least)))
            }
            Some(Bar::AtMost(most)) => {
                format!("<= {most}: {}", held(!self.ours.is_empty() && median(&self.ours) <= most))
            }
            Some(Bar::Never) => {
                let never = !self.ours.is_empty() && self.ours.iter().all(|number| *number <= 0.0);
                format!("never: {}", held(never))
            }
        };
        [
            self.what.clone(),
            with_spread(&self.ours),
            with_spread(&self.theirs),
            ratio.map(|ratio| format!("{ratio:.2}")).unwrap_or_default(),
            bar,
        ]
    }
}

fn with_spread(values: &[f64]) -> String {
    let [low, .., high] = *sorted(values) else {
        return values.first().map(|value| short(*value)).unwrap_or_default();
    };
    format!("{} ({}..{})", short(median(values)), short(low), short(high))
}

fn short(value: f64) -> String {
    match value.abs() {
        0.0 => "0".into(),
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

fn sorted(values: &[f64]) -> Vec<f64> {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values
}

/// The middle one; of an even number, the upper of the two.
#[must_use]
pub fn median(values: &[f64]) -> f64 {
    sorted(values).get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// So many percent of the values (nanoseconds) are at most this (milliseconds).
#[must_use]
pub fn percentile(nanoseconds: &mut [u64], percent: usize) -> f64 {
    if nanoseconds.is_empty() {
        return f64::NAN;
    }
    let at = (nanoseconds.len() * percent / 100).min(nanoseconds.len() - 1);
    to_f64(*nanoseconds.select_nth_unstable(at).1) / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_shows_median_spread_ratio_and_whether_the_bar_is_met() {
        let mut sheet = Sheet::new("T", "nchan");
        for (ours, theirs) in [(1.0, 2.0), (9.0, 10.0), (2.0, 4.0)] {
            sheet.note("cpu", Side::Ours, ours);
            sheet.note("cpu", Side::Theirs, theirs);
        }
        sheet.expect("cpu", Bar::RatioAtMost(0.4));
        let text = sheet.render();
        assert!(text.contains("2.00 (1.00..9.00)"), "{text}");
        assert!(text.contains("| 0.50  | ratio <= 0.4: NOT MET |"), "{text}");
    }

    #[test]
    fn what_must_never_happen_has_happened_if_it_has_once() {
        let mut sheet = Sheet::new("T", "nchan");
        [0.0, 1.0, 0.0].into_iter().for_each(|lost| sheet.note("lost", Side::Ours, lost));
        sheet.expect("lost", Bar::Never);
        assert!(sheet.render().contains("never: NOT MET"), "{}", sheet.render());
    }

    #[test]
    fn percentiles_are_of_all_values() {
        let mut values: Vec<u64> = (1..=100).rev().map(|n| n * 1_000_000).collect();
        assert!((percentile(&mut values, 50) - 51.0).abs() < 1e-9);
        assert!((percentile(&mut values, 99) - 100.0).abs() < 1e-9);
    }
}
