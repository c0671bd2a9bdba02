//! One chart as SVG. PURE.
//!
//! Curves lie in an inner picture that is stretched to whatever width there is; text and lines lie outside of it, at
//! shares of the width, so that they are as readable on a phone as on a desk.

use std::fmt::Write as _;

use super::axis::{Axis, Time};
use super::text::escaped;

/// Width and height of the inner picture.
const WIDTH: f64 = 1000.0;
const HEIGHT: &str = "100";

/// What a chart shows.
pub(super) struct Chart {
    /// Its place in the style sheet.
    pub name: &'static str,
    pub title: &'static str,
    /// What is counted, and in what.
    pub what: &'static str,
    pub axis: Axis,
    /// What the colours mean: class and label.
    pub legend: Vec<(String, String)>,
    /// Curves, as [`area`] and [`line()`] make them.
    pub curves: String,
    /// A value with a dashed line and a label.
    pub limit: Option<(f64, String)>,
    /// Stands in the heading until somebody points at a time.
    pub summary: String,
    /// A picture above the chart.
    pub above: String,
}

impl Chart {
    /// The chart as a figure.
    pub fn html(&self, time: Time) -> String {
        let mut legend = String::new();
        for (class, label) in &self.legend {
            let _ = write!(legend, "<li><i class=\"{class}\"></i>{}</li>", escaped(label));
        }
        let legend = if legend.is_empty() { legend } else { format!("<ul class=\"legend\">{legend}</ul>") };
        let summary = escaped(&self.summary);
        format!(
            "<figure id=\"{name}\">\n<figcaption><h2>{title}</h2><span class=\"what\">{what}</span>{legend}\
             <output data-summary=\"{summary}\">{summary}</output></figcaption>\n{above}\
             <svg class=\"plot\" role=\"img\" aria-label=\"{title}, {what}: {summary}\">\n{grid}\
             <svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" preserveAspectRatio=\"none\">{curves}</svg>\n{limit}</svg>\n\
             </figure>\n",
            name = self.name,
            title = self.title,
            what = escaped(self.what),
            above = self.above,
            grid = self.grid(time),
            curves = self.curves,
            limit = self.limit(),
        )
    }

    fn grid(&self, time: Time) -> String {
        let mut grid = String::from("<g class=\"grid\">");
        for (number, (at, _)) in time.ticks().iter().enumerate() {
            let (x, class) = (100.0 * time.at(*at), odd(number));
            let _ = write!(grid, "<line{class} x1=\"{x:.2}%\" x2=\"{x:.2}%\" y1=\"0\" y2=\"100%\"/>");
        }
        for (value, label) in &self.axis.ticks {
            let (y, label) = (self.axis.y(*value), escaped(label));
            let _ = write!(
                grid,
                "<line x1=\"0\" x2=\"100%\" y1=\"{y:.2}%\" y2=\"{y:.2}%\"/><text x=\"-8\" y=\"{y:.2}%\">{label}</text>"
            );
        }
        grid.push_str("</g>\n");
        grid
    }

    fn limit(&self) -> String {
        let Some((value, label)) = &self.limit else { return String::new() };
        let y = self.axis.y(*value);
        format!(
            "<g class=\"limit\"><line x1=\"0\" x2=\"100%\" y1=\"{y:.2}%\" y2=\"{y:.2}%\"/>\
             <text x=\"100%\" dx=\"-6\" dy=\"-5\" y=\"{y:.2}%\">{}</text></g>\n",
            escaped(label)
        )
    }
}

/// The labels of the time axis.
pub(super) fn time_axis(time: Time) -> String {
    let mut text = String::from("<div class=\"times\"><svg aria-hidden=\"true\">");
    for (number, (at, label)) in time.ticks().iter().enumerate() {
        let x = time.at(*at);
        let anchor = if x > 0.97 { " text-anchor=\"end\"" } else { "" };
        let _ = write!(text, "<text{}{anchor} x=\"{:.2}%\" y=\"16\">{label}</text>", odd(number), 100.0 * x);
    }
    text.push_str("</svg><span class=\"when\"></span></div>\n");
    text
}

/// What narrow screens leave out.
const fn odd(number: usize) -> &'static str {
    if number % 2 == 1 { " class=\"odd\"" } else { "" }
}

/// The area between two curves of one value a stretch.
pub(super) fn area(class: &str, low: &[f64], high: &[f64], axis: &Axis, time: Time) -> String {
    if high.iter().zip(low).all(|(high, low)| high <= low) {
        return String::new();
    }
    let mut path = String::new();
    let mut last = f64::NAN;
    for (number, value) in high.iter().enumerate() {
        step(&mut path, &mut last, axis.y(*value), time.begin(number));
    }
    let _ = write!(path, "H{:.1}", WIDTH * time.begin(high.len()));
    // Back along the lower curve: each value from its end to its beginning.
    let mut last = f64::NAN;
    for (number, value) in low.iter().enumerate().rev() {
        let y = axis.y(*value);
        if (y - last).abs() > 0.005 || last.is_nan() {
            let _ = write!(path, "H{:.1}V{y:.2}", WIDTH * time.begin(number + 1));
            last = y;
        }
    }
    format!("<path class=\"{class} area\" d=\"{path}H0Z\"/>")
}

/// A curve of one value a stretch; where there is none it has a gap.
pub(super) fn line(class: &str, values: &[Option<f64>], axis: &Axis, time: Time) -> String {
    let mut path = String::new();
    let mut last = f64::NAN;
    for (number, value) in values.iter().enumerate() {
        match value {
            Some(value) => step(&mut path, &mut last, axis.y(*value), time.begin(number)),
            None if last.is_nan() => {}
            None => {
                let _ = write!(path, "H{:.1}", WIDTH * time.begin(number));
                last = f64::NAN;
            }
        }
    }
    if !last.is_nan() {
        let _ = write!(path, "H{:.1}", WIDTH * time.begin(values.len()));
    }
    if path.is_empty() { path } else { format!("<path class=\"{class} line\" d=\"{path}\"/>") }
}

/// Goes on to a value at a time; equal ones need no point.
fn step(path: &mut String, last: &mut f64, y: f64, x: f64) {
    if last.is_nan() {
        let _ = write!(path, "M{:.1} {y:.2}", WIDTH * x);
    } else if (y - *last).abs() > 0.005 {
        let _ = write!(path, "H{:.1}V{y:.2}", WIDTH * x);
    } else {
        return;
    }
    *last = y;
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: Time = Time { seconds: 4.0, stretch: 1.0 };

    #[test]
    fn curves_are_steps_with_gaps() {
        let axis = Axis::linear(2.0, true, |value| value.to_string());
        let values = [Some(1.0), Some(1.0), None, Some(2.0)];
        assert_eq!(
            line("x", &values, &axis, TIME),
            "<path class=\"x line\" d=\"M0.0 50.00H500.0M750.0 0.00H1000.0\"/>"
        );
        assert_eq!(line("x", &[None; 4], &axis, TIME), "");
        assert_eq!(
            area("x", &[0.0, 0.0, 1.0, 1.0], &[1.0, 1.0, 2.0, 2.0], &axis, TIME),
            "<path class=\"x area\" d=\"M0.0 50.00H500.0V0.00H1000.0H1000.0V50.00H500.0V100.00H0Z\"/>"
        );
        assert_eq!(area("x", &[1.0; 4], &[1.0; 4], &axis, TIME), "");
    }
}
