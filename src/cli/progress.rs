//! How far something long is, on standard error, if that is a terminal.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A bar that is drawn over; invisible in a pipe.
pub(super) struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// A bar of `steps`.
    pub(super) fn new(steps: u64) -> Self {
        let bar = ProgressBar::with_draw_target(Some(steps), ProgressDrawTarget::stderr());
        // Characters and a bar only: colours would need a look at NO_COLOR.
        let style = ProgressStyle::with_template("{prefix} [{bar:30}] {msg}").expect("a valid template");
        bar.set_style(style.progress_chars("=> "));
        Self { bar }
    }

    /// Begins again with `steps`, for the part that is called `name`.
    pub(super) fn begin(&self, name: String, steps: u64) {
        self.bar.set_length(steps);
        self.bar.set_position(0);
        self.bar.set_message("");
        self.bar.set_prefix(name);
    }

    /// `step` of the steps are done.
    pub(super) fn at(&self, step: u64) {
        self.bar.set_position(step);
    }

    /// Says something more, which is only made if somebody can read it.
    pub(super) fn say(&self, text: impl FnOnce() -> String) {
        if !self.bar.is_hidden() {
            self.bar.set_message(text());
        }
    }

    /// Prints a line for those who read a pipe: where there is a bar, it says enough.
    pub(super) fn note(&self, text: impl FnOnce() -> String) {
        if self.bar.is_hidden() {
            eprintln!("{}", text());
        }
    }

    /// Takes the bar away, so that results can be printed.
    pub(super) fn end(&self) {
        self.bar.finish_and_clear();
    }
}
