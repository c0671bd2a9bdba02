//! Tables of figures as text. PURE.

use super::statistics::Percentiles;

/// What stands where nothing was measured.
const NOTHING: &str = "-";
/// Between two columns.
const GAP: &str = "  ";

/// Rows of cells below a heading, aligned: the first column to the left, figures to the right.
pub(in crate::cli) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(in crate::cli) fn new<'a>(heading: impl IntoIterator<Item = &'a str>) -> Self {
        Self { rows: vec![heading.into_iter().map(str::to_owned).collect()] }
    }

    pub(in crate::cli) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// The whole table, each row one line.
    pub(in crate::cli) fn text(&self) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell: &String| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let line = |row: &Vec<String>| {
            let cells = row.iter().zip(&widths).enumerate();
            let aligned = cells.map(|(column, (cell, width))| match column {
                0 => format!("{cell:<width$}"),
                _ => format!("{cell:>width$}"),
            });
            format!("{}\n", aligned.collect::<Vec<_>>().join(GAP).trim_end())
        };
        self.rows.iter().map(line).collect()
    }
}

/// A figure with three digits that matter.
pub(super) fn figure(value: f64) -> String {
    let decimals = match value.abs() {
        size if size >= 99.95 => 0,
        size if size >= 9.995 => 1,
        size if size >= 0.9995 => 2,
        _ => 3,
    };
    format!("{value:.decimals$}")
}

/// As [`figure`], where there may be nothing.
pub(super) fn maybe(value: Option<f64>) -> String {
    value.map_or_else(|| NOTHING.to_owned(), figure)
}

/// p50, p90 and p99 in three cells.
pub(super) fn cells(percentiles: Option<Percentiles>) -> [String; 3] {
    let figures = percentiles.map(|p| [p.p50, p.p90, p.p99].map(figure));
    figures.unwrap_or_else(|| [NOTHING; 3].map(str::to_owned))
}

/// "1 client", "2 clients"
pub(super) fn counted(count: u32, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let mut table = Table::new(["load", "tokens/s", "ms"]);
        table.row(["1 client", "9", "12.5"].map(str::to_owned));
        table.row(["µ", "1234", "-"].map(str::to_owned));
        let expected = "load      tokens/s    ms\n\
                        1 client         9  12.5\n\
                        µ             1234     -\n";
        assert_eq!(table.text(), expected);
    }

    #[test]
    fn figures_have_three_digits() {
        for (value, expected) in [
            (0.0, "0.000"),
            (0.012_34, "0.012"),
            (0.999_9, "1.00"),
            (1.234, "1.23"),
            (-12.34, "-12.3"),
            (99.99, "100"),
            (123_456.7, "123457"),
        ] {
            assert_eq!(figure(value), expected);
        }
        assert_eq!(maybe(None), "-");
        assert_eq!(cells(None), ["-", "-", "-"]);
        assert_eq!((counted(1, "client"), counted(4, "client")), ("1 client".into(), "4 clients".into()));
    }
}
