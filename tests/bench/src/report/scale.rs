//! A logarithmic scale: what is compared lies a factor apart, often a hundredfold.

/// Up to so many decades there are marks at 2 and 5 too, and otherwise one for each decade.
const DECADES_WITH_STEPS: i32 = 2;

/// Maps figures to places between two ends.
#[derive(Debug)]
pub(super) struct Scale {
    lowest: f64,
    highest: f64,
    /// Where the lowest and the highest figure are drawn.
    from: f64,
    to: f64,
}

impl Scale {
    /// A scale from one mark to another that holds all these figures, which have to be above zero.
    pub(super) fn around(figures: impl Iterator<Item = f64> + Clone, from: f64, to: f64) -> Self {
        let steps = |decade: f64| [1.0, 2.0, 5.0, 10.0].map(|step| step * decade);
        let lowest = figures.clone().reduce(f64::min).unwrap_or(1.0);
        let highest = figures.reduce(f64::max).unwrap_or(10.0);
        let below = steps(decade(lowest)).into_iter().rfind(|mark| *mark <= lowest);
        let above = steps(decade(highest)).into_iter().find(|mark| *mark >= highest);
        Self::between(below.unwrap_or(lowest), above.unwrap_or(highest), from, to)
    }

    /// A scale from the lowest of these figures to the highest, with some room at both ends.
    pub(super) fn of(figures: &[f64], from: f64, to: f64) -> Self {
        let lowest = figures.iter().copied().reduce(f64::min).unwrap_or(1.0);
        let highest = figures.iter().copied().reduce(f64::max).unwrap_or(10.0);
        Self::between(lowest / 1.4, highest * 1.4, from, to)
    }

    fn between(lowest: f64, highest: f64, from: f64, to: f64) -> Self {
        // One figure alone is in the middle.
        let (lowest, highest) = if lowest < highest {
            (lowest, highest)
        } else {
            (lowest / 2.0, highest * 2.0)
        };
        Self {
            lowest,
            highest,
            from,
            to,
        }
    }

    /// Where a figure is drawn.
    pub(super) fn place(&self, figure: f64) -> f64 {
        let share = (figure / self.lowest).ln() / (self.highest / self.lowest).ln();
        self.from + share * (self.to - self.from)
    }

    /// The round figures to mark.
    pub(super) fn marks(&self) -> Vec<f64> {
        let (first, last) = (self.lowest.log10().floor() as i32, self.highest.log10().ceil() as i32);
        let steps: &[f64] = if last - first <= DECADES_WITH_STEPS {
            &[1.0, 2.0, 5.0]
        } else {
            &[1.0]
        };
        let marks = (first..=last).flat_map(|decade| steps.iter().map(move |step| step * 10_f64.powi(decade)));
        // What is computed is seldom exact.
        let (lowest, highest) = (self.lowest * 0.999, self.highest * 1.001);
        marks.filter(|mark| (lowest..=highest).contains(mark)).collect()
    }
}

/// The power of ten at or below a figure.
fn decade(figure: f64) -> f64 {
    10_f64.powf(figure.log10().floor())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scale_holds_all_figures_and_begins_and_ends_at_a_mark() {
        let scale = Scale::around([4_300.0, 16_000.0, 380_000.0].into_iter(), 100.0, 0.0);
        let marks = scale.marks();
        assert_eq!(marks, [1e4, 1e5]);
        assert!((scale.place(2_000.0) - 100.0).abs() < 1e-6 && scale.place(500_000.0).abs() < 1e-6);
        let scale = Scale::around([12.0, 90.0].into_iter(), 0.0, 100.0);
        assert_eq!(scale.marks(), [10.0, 20.0, 50.0, 100.0]);
        assert!((scale.place(10.0)).abs() < 1e-6 && (scale.place(100.0) - 100.0).abs() < 1e-6);
    }

    #[test]
    fn one_figure_or_none_has_a_place_too() {
        let scale = Scale::around([10.0].into_iter(), 0.0, 100.0);
        assert!((scale.place(10.0) - 50.0).abs() < 1e-6);
        assert!(Scale::around(std::iter::empty(), 0.0, 1.0).place(3.0).is_finite());
        assert!(Scale::of(&[], 0.0, 1.0).place(3.0).is_finite());
    }
}
